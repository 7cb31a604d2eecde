-- Operations of a GPU beside which another one runs, in whole or in part.
-- Algorithm: one sort for all GPUs, as in attribute._device_order.
-- Grain: op_id.
-- materialize: table
-- requires: attribute.gpu_work
-- columns:
--   op_id        BIGINT Joins attribute.gpu_work.
--   device_id    BIGINT Joins load.devices.
--   start_ns     BIGINT Unit: ns.
--   end_ns       BIGINT Unit: ns.
WITH lifted AS (
    SELECT op_id, device_id, start_ns, end_ns, coalesce(device_id, 0)::HUGEINT << 64 AS gpu
    FROM attribute.gpu_work
    WHERE end_ns > start_ns
),
swept AS (
    SELECT *, max(gpu + end_ns) OVER (ROWS UNBOUNDED PRECEDING) AS reached, lead(gpu + start_ns) OVER () AS next
    FROM (SELECT * FROM lifted ORDER BY gpu, start_ns, op_id)
),
reach AS (
    SELECT *, lag(reached) OVER () AS reached_before FROM swept
)
SELECT op_id, device_id, start_ns, end_ns FROM reach WHERE gpu + start_ns < reached_before OR next < gpu + end_ns
