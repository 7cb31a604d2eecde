-- How much communication is hidden behind compute?
-- Communication kernels against all other kernels of the same GPU; exposed time is what scaling pays for.
-- Warm-up, cold occurrences and cold training steps are left out, as in collective_summary.
-- columns:
--   device_id        BIGINT  GPU.
--   communication_ns BIGINT  Time in which communication ran. Unit: ns.
--   hidden_ns        BIGINT  Of it, with compute beside it. Unit: ns.
--   exposed_ns       BIGINT  Of it, with nothing beside it. Unit: ns.
--   exposed_ratio    DOUBLE  exposed_ns / communication_ns.
WITH communication AS (
    SELECT device_id AS group_id, start_ns, end_ns
    FROM collectives
    WHERE is_measured
),
compute AS (
    SELECT device_id AS group_id, start_ns, end_ns FROM gpu_work WHERE kind = 'kernel' AND family <> 'communication'
),
hidden AS (
    SELECT group_id, sum(dur_ns)::BIGINT AS dur_ns FROM overlap('communication', 'compute') GROUP BY group_id
)
SELECT
    c.group_id AS device_id, c.busy_ns AS communication_ns, coalesce(h.dur_ns, 0) AS hidden_ns,
    c.busy_ns - coalesce(h.dur_ns, 0) AS exposed_ns,
    (c.busy_ns - coalesce(h.dur_ns, 0)) / nullif(c.busy_ns, 0) AS exposed_ratio
FROM busy_ns('communication') AS c
LEFT JOIN hidden AS h ON h.group_id IS NOT DISTINCT FROM c.group_id
ORDER BY device_id
