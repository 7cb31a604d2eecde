-- When a communication kernel runs on a GPU while a rank of its collective has not started yet.
-- Grain: op_id.
-- requires: attribute.collectives
-- columns:
--   op_id     BIGINT  Joins attribute.gpu_work.
--   device_id BIGINT  Joins load.devices.
--   start_ns  BIGINT  Start of the wait: that of the kernel. Unit: ns.
--   end_ns    BIGINT  Its end: the last rank's start, or the end of the kernel. Unit: ns.
SELECT op_id, device_id, start_ns, start_ns + wait_ns AS end_ns
FROM attribute.collectives
WHERE wait_ns > 0
