-- Where the launching threads spent the GPUs' idle time in Python, by samples of their stacks.
-- Times are estimates: the share of the phase's samples, times what the budget has of that part.
-- Grain: phase, part, function, file, line. Warm-up and cold occurrences are left out.
-- requires: attribute.host_samples, attribute.occurrences, load.python_frames, views.time_budget
-- columns:
--   phase         VARCHAR Phase that is open on the thread.
--   part          VARCHAR As in host_samples; 'host' is the classes host and latency of time_budget.
--   function      VARCHAR A function on the stack.
--   file          VARCHAR Its file.
--   line          BIGINT  The line that it is at.
--   self_samples  BIGINT  Samples in which it ran itself.
--   samples       BIGINT  Samples in which it was on the stack.
--   self_ns       BIGINT  Estimated time in which it ran itself, NULL for 'busy'. Unit: ns.
--   time_ns       BIGINT  Estimated time in which it was on the stack. Unit: ns.
--   time_error_ns BIGINT  Standard error of time_ns that comes from the number of samples, n, k of which had it on the stack:
--                         the deviation of a share of which nothing was known before, √(p (1 - p) / (n + 3)) with
--                         p = (k + 1) / (n + 2), times what the budget has. Unit: ns.
WITH sample AS (
    SELECT s.sample_id, p.phase, s.part
    FROM attribute.host_samples AS s JOIN attribute.occurrences AS p USING (occurrence_id)
    WHERE p.is_measured
),
total AS (
    SELECT phase, part, count(*) AS sample_count FROM sample GROUP BY phase, part
),
budget AS (
    SELECT phase, CASE class WHEN 'latency' THEN 'host' ELSE class END AS part, sum(time_ns) AS time_ns
    FROM views.time_budget
    WHERE class IN ('host', 'latency', 'launch', 'sync', 'api')
    GROUP BY ALL
),
place AS (
    SELECT
        s.phase, s.part, f.function, f.file, f.line, count(DISTINCT s.sample_id) FILTER (WHERE f.depth = 0) AS self_samples,
        count(DISTINCT s.sample_id) AS samples
    FROM sample AS s JOIN load.python_frames AS f USING (sample_id)
    GROUP BY s.phase, s.part, f.function, f.file, f.line
)
SELECT
    c.phase, c.part, c.function, c.file, c.line, c.self_samples, c.samples,
    (c.self_samples * b.time_ns / t.sample_count)::BIGINT AS self_ns, (c.samples * b.time_ns / t.sample_count)::BIGINT AS time_ns,
    (
        b.time_ns * sqrt((c.samples + 1) * (t.sample_count + 1 - c.samples) / (t.sample_count + 3)) / (t.sample_count + 2)
    )::BIGINT AS time_error_ns
FROM place AS c
JOIN total AS t ON t.phase = c.phase AND t.part = c.part
LEFT JOIN budget AS b ON b.phase = c.phase AND b.part = c.part
