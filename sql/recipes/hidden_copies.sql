-- How much copying is hidden behind kernels?
-- Warm-up and cold occurrences count.
-- columns:
--   device_id     BIGINT  GPU.
--   copy_ns       BIGINT  Time in which copies and fills ran. Unit: ns.
--   hidden_ns     BIGINT  Of it, with a kernel beside it. Unit: ns.
--   exposed_ns    BIGINT  Of it, without. Unit: ns.
WITH copies AS (
    SELECT device_id AS group_id, start_ns, end_ns FROM gpu_work WHERE kind IN ('memcpy', 'memset')
),
running AS (
    SELECT device_id AS group_id, start_ns, end_ns FROM gpu_work WHERE kind IN ('kernel', 'graph')
),
alone AS (
    SELECT group_id, sum(dur_ns)::BIGINT AS dur_ns FROM exposed('copies', 'running') GROUP BY group_id
)
SELECT
    c.group_id AS device_id, c.busy_ns AS copy_ns, c.busy_ns - coalesce(a.dur_ns, 0) AS hidden_ns,
    coalesce(a.dur_ns, 0) AS exposed_ns
FROM busy_ns('copies') AS c LEFT JOIN alone AS a ON a.group_id IS NOT DISTINCT FROM c.group_id
ORDER BY device_id
