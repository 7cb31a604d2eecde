-- How much of each communication kernel is hidden behind compute of the same GPU, and how much is exposed.
-- Grain: op_id.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication, attribute._communication_spans, attribute._compute_beside, macros.covered
-- columns:
--   op_id         BIGINT  Joins attribute.gpu_work.
--   overlapped_ns BIGINT  Time in which a kernel that does not communicate runs beside it. Unit: ns.
--   exposed_ns    BIGINT  The rest of its time. Unit: ns.
SELECT c.op_id, o.covered_ns AS overlapped_ns, c.end_ns - c.start_ns - o.covered_ns AS exposed_ns
FROM attribute._communication AS c
JOIN macros.covered('attribute._communication_spans', 'attribute._compute_beside') AS o ON o.span_id = c.op_id
