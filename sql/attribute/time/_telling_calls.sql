-- Calls of attribute._thread_calls that may lie in idle time before a later launch of the same thread.
-- Grain: global_tid, start_ns.
-- requires: attribute._thread_calls, attribute._unsure_threads, attribute._linked_work, attribute._repeated_links
-- columns:
--   global_tid BIGINT    Calling thread. Joins load.threads.
--   start_ns   BIGINT    Entry. Unit: ns.
--   end_ns     BIGINT    Return. Unit: ns.
--   kind       UTINYINT  0 launches, 1 synchronizes, 2 neither.
SELECT global_tid, start_ns, end_ns, kind
FROM attribute._thread_calls
WHERE kind > 0 OR global_tid IN (SELECT global_tid FROM attribute._unsure_threads)
UNION ALL
SELECT DISTINCT w.global_tid, w.launch_start_ns, w.launch_end_ns, 0::UTINYINT
FROM attribute._linked_work AS w
ANTI JOIN attribute._unsure_threads USING (global_tid)
ANTI JOIN attribute._repeated_links AS r ON r.op_id = w.op_id AND r.api_id = w.api_id
WHERE w.launch_end_ns > w.launch_start_ns AND (w.end_ns < w.launch_end_ns OR w.end_ns <= w.start_ns)
