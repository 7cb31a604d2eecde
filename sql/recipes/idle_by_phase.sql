-- In which phase is the GPU idle?
-- Every gap of a GPU between its first and last work goes to the phase of the work that ends it.
-- columns:
--   device_id   BIGINT  GPU.
--   phase       VARCHAR Phase of the work after the gap, or NULL.
--   gap_count   BIGINT  Gaps.
--   idle_ns     BIGINT  Their sum. Unit: ns.
--   share_ratio DOUBLE  Share of all of the GPU's idle time, not of the time of the phase.
WITH ended AS (
    SELECT b.device_id, w.phase, b.idle_ns
    FROM gpu_busy AS b
    JOIN gpu_work AS w ON w.device_id = b.device_id AND w.start_ns = b.start_ns
    WHERE b.idle_ns IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY b.device_id, b.start_ns ORDER BY w.op_id) = 1
)
SELECT
    device_id, phase, count(*) AS gap_count, sum(idle_ns)::BIGINT AS idle_ns,
    (sum(idle_ns) / nullif(sum(sum(idle_ns)) OVER (PARTITION BY device_id), 0))::DOUBLE AS share_ratio
FROM ended
GROUP BY device_id, phase
ORDER BY device_id, idle_ns DESC, phase
