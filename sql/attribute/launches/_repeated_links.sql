-- Rows of attribute._linked_work that link an operation to a call that is not the one that launched it: the second
-- record of a call that `--cudabacktrace` made, and calls of another process with the same pid, which counts from 1
-- again. The launching call is the last one before the operation.
-- Doubled calls are rare, and sorting every operation to find none is slow: looked for only where there are some.
-- Grain: op_id, api_id.
-- materialize: table
-- requires: load.gpu_ops, attribute._linked_work
-- columns:
--   op_id  BIGINT    Joins load.gpu_ops.
--   api_id UINTEGER  Joins load.api_calls.
SELECT op_id, api_id
FROM attribute._linked_work
WHERE (SELECT count(*) FROM attribute._linked_work) > (SELECT count(*) FROM load.gpu_ops)
QUALIFY row_number() OVER (
    PARTITION BY op_id
    ORDER BY
        launch_start_ns > start_ns NULLS LAST,
        CASE WHEN launch_start_ns > start_ns THEN launch_start_ns ELSE -launch_start_ns END,
        api_id
) > 1
