-- Calls that begin and end a stream capture: what is called between them launches nothing, it makes a graph.
-- Grain: api_id.
-- materialize: table
-- requires: load.api_calls, load.strings, macros.cuda_call
-- columns:
--   api_id      BIGINT  Joins load.api_calls.
--   process_key BIGINT  Joins load.processes.
--   global_tid  BIGINT  Calling thread. Joins load.threads.
--   start_ns    BIGINT  Entry. Unit: ns.
--   is_begin    BOOLEAN Whether it begins one.
SELECT c.api_id, c.process_key, c.global_tid, c.start_ns, contains(s.value, 'Begin') AS is_begin
FROM load.api_calls AS c JOIN load.strings AS s ON s.string_id = c.name_id
WHERE regexp_matches(macros.cuda_call(s.value), '^cu(da)?Stream(Begin|End)Capture')
