-- Operations of a GPU beside which another one runs, in whole or in part.
-- Grain: op_id.
-- materialize: table
-- requires: attribute.gpu_work
-- columns:
--   op_id        BIGINT Joins attribute.gpu_work.
--   device_id    BIGINT Joins load.devices.
--   start_ns     BIGINT Unit: ns.
--   end_ns       BIGINT Unit: ns.
WITH swept AS (
    SELECT
        op_id, device_id, start_ns, end_ns, lead(start_ns) OVER sweep AS next_ns,
        max(end_ns) OVER (PARTITION BY device_id ORDER BY start_ns, op_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached_ns
    FROM attribute.gpu_work
    WHERE end_ns > start_ns
    WINDOW sweep AS (PARTITION BY device_id ORDER BY start_ns, op_id)
)
SELECT op_id, device_id, start_ns, end_ns FROM swept WHERE start_ns < reached_ns OR next_ns < end_ns
