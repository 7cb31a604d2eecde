-- Requests that no range marks: an inferred prefill and the decode steps after it.
-- Grain: request_id.
-- materialize: table
-- requires: input.inferred_requests
-- columns:
--   request_id BIGINT  A number that no range has.
--   global_tid BIGINT  Thread that launched it. Joins load.threads.
--   start_ns   BIGINT  Start of the prefill. Unit: ns.
--   end_ns     BIGINT  End of the last decode step. Unit: ns.
SELECT request_id, global_tid, start_ns, end_ns FROM input.inferred_requests
