-- After which gaps do which kernels start?
-- Idle time of a GPU by the kernel that ended it: what the GPU was waiting for.
-- params:
--   top=20  Kernels to show.
-- columns:
--   phase       VARCHAR  Phase of the kernel that ended the gap, or NULL.
--   name        VARCHAR  That kernel, or the kind of other work.
--   gap_count   BIGINT   Gaps that it ended.
--   idle_ns     BIGINT   Their sum. Unit: ns.
--   mean_ns     DOUBLE   Their mean. Unit: ns.
--   max_ns      BIGINT   The longest. Unit: ns.
WITH ended AS (
    SELECT w.phase, w.name, b.idle_ns
    FROM gpu_busy AS b
    JOIN gpu_work AS w ON w.device_id = b.device_id AND w.start_ns = b.start_ns
    WHERE b.idle_ns IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY b.device_id, b.start_ns ORDER BY w.op_id) = 1
)
SELECT
    phase, name, count(*) AS gap_count, sum(idle_ns)::BIGINT AS idle_ns, avg(idle_ns) AS mean_ns, max(idle_ns) AS max_ns
FROM ended
GROUP BY phase, name
ORDER BY idle_ns DESC, phase, name
LIMIT $top
