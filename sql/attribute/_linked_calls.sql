-- Each GPU operation with the host call that launched it: same process, same correlation id. The id 0 is CUPTI's
-- CUPTI_CORRELATION_ID_UNKNOWN and links nothing: kernels that kernels launch have it.
-- `--cudabacktrace` records a call twice, so an operation may be here twice: see attribute._launches.
-- Grain: op_id and call.
-- materialize: temporary
-- requires: load.gpu_ops, load.api_calls
-- columns:
--   op_id           BIGINT  Joins load.gpu_ops.
--   process_key     BIGINT  Joins load.processes.
--   api_id          BIGINT  The call, NULL where there is none. Joins load.api_calls.
--   global_tid      BIGINT  The calling thread. Joins load.threads.
--   launch_start_ns BIGINT  Entry of the call. Unit: ns.
--   launch_end_ns   BIGINT  Return of the call. Unit: ns.
SELECT
    o.op_id, o.process_key, c.api_id, c.global_tid, c.start_ns AS launch_start_ns, c.end_ns AS launch_end_ns
FROM load.gpu_ops AS o
LEFT JOIN load.api_calls AS c
    ON c.correlation_id = o.correlation_id AND c.process_key = o.process_key AND o.correlation_id <> 0
