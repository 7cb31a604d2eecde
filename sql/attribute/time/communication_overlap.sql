-- How much of each communication kernel is hidden behind compute of the same GPU, and how much is exposed.
-- Grain: op_id.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication, attribute._compute_until
-- columns:
--   op_id         BIGINT  Joins attribute.gpu_work.
--   overlapped_ns BIGINT  Time in which a kernel that does not communicate runs beside it. Unit: ns.
--   exposed_ns    BIGINT  The rest of its time. Unit: ns.
SELECT
    c.op_id, e.compute_ns - b.compute_ns AS overlapped_ns, c.end_ns - c.start_ns - (e.compute_ns - b.compute_ns) AS exposed_ns
FROM attribute._communication AS c
JOIN attribute._compute_until AS b ON b.device_id = c.device_id AND b.at_ns = c.start_ns
JOIN attribute._compute_until AS e ON e.device_id = c.device_id AND e.at_ns = c.end_ns
