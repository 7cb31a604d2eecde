-- Which kernels differ between the first range of a phase and the later ones?
-- Kernels that run more or less often in the first range than in a later one on average: autotuning, caches, warm-up.
-- Of several processes, the one that has the phase's first range.
-- params:
--   top=20  Kernels to show.
-- columns:
--   phase         VARCHAR  Name of the phase.
--   name          VARCHAR  Short kernel name.
--   first_count   BIGINT   Kernels in the phase's first range.
--   later_count   DOUBLE   Kernels in a later range, on average.
--   first_time_ns BIGINT   Their time in the first range. Unit: ns.
--   later_time_ns DOUBLE   Their time in a later range, on average. Unit: ns.
WITH first AS (
    SELECT phase, process_id FROM phases WHERE occurrence = 0
),
ranges AS (
    SELECT phase, process_id, count(*) - 1 AS later_ranges
    FROM phases SEMI JOIN first USING (phase, process_id)
    GROUP BY phase, process_id
),
work AS (
    SELECT
        k.phase, k.name,
        count(*) FILTER (WHERE k.occurrence = 0) AS first_count,
        count(*) FILTER (WHERE k.occurrence > 0) / nullif(any_value(r.later_ranges), 0) AS later_count,
        coalesce(sum(k.dur_ns) FILTER (WHERE k.occurrence = 0), 0)::BIGINT AS first_time_ns,
        (coalesce(sum(k.dur_ns) FILTER (WHERE k.occurrence > 0), 0) / nullif(any_value(r.later_ranges), 0))::DOUBLE
            AS later_time_ns
    FROM kernels AS k JOIN ranges AS r USING (phase, process_id)
    GROUP BY k.phase, k.name
)
SELECT phase, name, first_count, later_count, first_time_ns, later_time_ns
FROM work
WHERE first_count <> later_count
ORDER BY abs(first_time_ns - later_time_ns) DESC, phase, name
LIMIT $top
