-- Which threads launch work, in which phases?
-- columns:
--   process_id  BIGINT   Operating-system pid.
--   thread_id   BIGINT   Operating-system tid.
--   thread_name VARCHAR  Its name, NULL where nsys did not say.
--   phase       VARCHAR  Name of the phase, or NULL.
--   method      VARCHAR  How the phase was found.
--   op_count    BIGINT   Kernels, copies, fills and graphs.
--   time_ns     BIGINT   Sum of their durations. Unit: ns.
SELECT
    w.process_id, w.thread_id, any_value(t.name) AS thread_name, w.phase, w.method, count(*) AS op_count,
    sum(w.dur_ns)::BIGINT AS time_ns
FROM gpu_work AS w
LEFT JOIN threads AS t ON t.process_id = w.process_id AND t.thread_id = w.thread_id
GROUP BY w.process_id, w.thread_id, w.phase, w.method
ORDER BY w.process_id, w.thread_id, time_ns DESC, w.phase, w.method
