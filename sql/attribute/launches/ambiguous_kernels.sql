-- Kernels that nsys links to several calls, or to calls that launched nothing: their correlation id is 0, which is CUPTI's word
-- for an unknown one, or one that two processes of one pid used.
-- Grain: process_id, kernel.
-- requires: load.gpu_ops, load.api_calls, load.strings
-- columns:
--   process_id BIGINT  Operating-system pid.
--   kernel     VARCHAR Demangled name, '' if the trace does not spell it out.
WITH repeated AS (
    SELECT process_key, correlation_id
    FROM load.api_calls
    GROUP BY process_key, correlation_id
    HAVING count(DISTINCT start_ns) > 1
)
SELECT DISTINCT o.process_key & 16777215 AS process_id, coalesce(n.value, '') AS kernel
FROM load.gpu_ops AS o
LEFT JOIN load.strings AS n ON n.string_id = o.full_name_id
LEFT JOIN repeated AS r ON r.process_key = o.process_key AND r.correlation_id = o.correlation_id
WHERE o.kind = 'kernel' AND (o.correlation_id IS NULL OR r.correlation_id IS NOT NULL)
