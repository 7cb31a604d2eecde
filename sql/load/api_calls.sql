-- CUDA runtime and driver calls on the host.
-- Grain: api_id. `--cudabacktrace` records some calls twice: see attribute._repeated_links.
-- requires: nsys.CUPTI_ACTIVITY_KIND_RUNTIME
-- columns:
--   api_id         BIGINT  Row of the export.
--   process_key    BIGINT  Joins load.processes.
--   global_tid     BIGINT  Calling thread. Joins load.threads.
--   correlation_id BIGINT  Joins the call to its GPU work within one process.
--   start_ns       BIGINT  Entry. Unit: ns.
--   end_ns         BIGINT  Return. Unit: ns.
--   name_id        BIGINT  Joins load.strings.
SELECT
    row_id::BIGINT AS api_id, globalTid >> 24 AS process_key, globalTid AS global_tid,
    correlationId::BIGINT AS correlation_id, "start" AS start_ns, "end" AS end_ns, nameId::BIGINT AS name_id
FROM nsys.CUPTI_ACTIVITY_KIND_RUNTIME
