-- The functions of Python that ran most of a phase's time of one part, as a sentence has them.
-- Grain: phase, part. Those in which nothing stands out are absent.
-- empty without: attribute.host_places
-- requires: attribute.host_places, macros.sampled_error
-- columns:
--   phase VARCHAR Phase, NULL outside every phase.
--   part  VARCHAR As in attribute.host_places.
--   told  VARCHAR Up to three functions, each with the share of the samples in which it ran itself, in one of twenty at least.
WITH place AS (
    SELECT
        phase, part, self_samples, all_samples, "function", regexp_extract(file, '[^/\\]*$') AS file_name, line,
        row_number() OVER (PARTITION BY phase, part ORDER BY self_samples DESC, "function", file) AS rank
    FROM attribute.host_places
    WHERE NOT is_line AND self_samples >= 2 AND 20 * self_samples >= all_samples
)
SELECT
    phase, part,
    string_agg(
        format(
            '{:.0f} ± {:.0f}% in `{}` ({}:{})', 100 * self_samples / all_samples,
            ceil(macros.sampled_error(100, self_samples, all_samples)),
            coalesce("function", '?'), coalesce(file_name, '?'), coalesce(line, 0)
        ),
        ', ' ORDER BY rank
    ) AS told
FROM place
WHERE rank <= 3
GROUP BY phase, part
