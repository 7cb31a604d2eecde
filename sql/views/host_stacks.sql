-- Stacks of Python in the idle time of the GPUs, and how long each one took: what a flame graph draws.
-- Grain: phase, part, frames. Warm-up is left out.
-- empty without: load.python_samples
-- requires: attribute.host_places, attribute.host_samples, load.python_frames
-- columns:
--   phase   VARCHAR   Phase as in time_budget, NULL outside every phase.
--   part    VARCHAR   As in host_samples: the class of time_budget, or 'busy'. 'cold': cold occurrences, whatever the GPUs did.
--   frames  VARCHAR[] `function (file:line)`, the outermost first.
--   time_ns DOUBLE    Samples × the time that one stands for on a GPU. Unit: ns.
WITH part AS (
    SELECT DISTINCT phase, part, sample_ns FROM attribute.host_places WHERE all_ns > 0
),
stack AS (
    SELECT
        s.phase, s.counts_as AS part, s.sample_id,
        list(
            format('{} ({}:{})', coalesce(f."function", '?'), coalesce(f.file, '?'), coalesce(f.line, 0)) ORDER BY f.depth DESC
        ) AS frames
    FROM attribute.host_samples AS s JOIN load.python_frames AS f USING (sample_id)
    WHERE s.counts_as IS NOT NULL
    GROUP BY s.phase, s.counts_as, s.sample_id, s.device_id
)
SELECT s.phase, s.part, s.frames, sum(p.sample_ns)::DOUBLE AS time_ns
FROM stack AS s JOIN part AS p ON p.phase IS NOT DISTINCT FROM s.phase AND p.part = s.part
GROUP BY ALL
