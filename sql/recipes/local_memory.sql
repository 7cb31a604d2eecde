-- Which kernels spill registers to local memory?
-- params:
--   top=20  Kernels to show.
-- columns:
--   name                   VARCHAR  Short kernel name.
--   local_bytes_per_thread BIGINT   Local memory of a thread. Unit: bytes.
--   registers_per_thread   BIGINT   Registers of a thread.
--   count                  BIGINT   Kernels.
--   time_ns                BIGINT   Sum of their durations. Unit: ns.
SELECT
    name, local_bytes_per_thread, registers_per_thread, count(*) AS "count", sum(dur_ns)::BIGINT AS time_ns
FROM kernels
WHERE local_bytes_per_thread > 0
GROUP BY name, local_bytes_per_thread, registers_per_thread
ORDER BY time_ns DESC, name, local_bytes_per_thread, registers_per_thread
LIMIT $top
