-- Samples of Python's stacks, which `capture --python` records: the innermost frame of each.
-- Grain: sample_id and GPU of its process.
-- empty without: load.python_samples
-- requires: attribute.host_samples, load.python_frames, load.python_samples
-- columns:
--   sample_id     BIGINT  The sample.
--   process_id    BIGINT  Operating-system pid.
--   thread_id     BIGINT  Operating-system tid of the sampled thread. Joins threads.
--   device_id     BIGINT  A GPU that its process uses, NULL if it uses none. Joins devices.
--   at_ns         BIGINT  When. Unit: ns.
--   phase         VARCHAR Phase that it counts to as in time_budget: idle time to that whose work ends it.
--   occurrence_id BIGINT  The occurrence that is open on the thread. Joins phases.
--   part          VARCHAR 'busy' while the GPU works for the process; 'latency' after the return of the call that launches what it
--                         does next; else by the CUDA call that the thread is in: 'launch', 'sync', 'api' (another one), 'host'
--                         (none).
--   counts_as     VARCHAR Its part, if it is in host_time; 'cold' in a cold occurrence; NULL for what is not measured, and for
--                         threads that do not launch what ends the idle time.
--   function      VARCHAR The function that ran.
--   file          VARCHAR Its file.
--   line          BIGINT  Its line.
--   depth         BIGINT  Frames of the stack.
SELECT
    s.sample_id, s.global_tid >> 24 & 16777215 AS process_id, s.global_tid & 16777215 AS thread_id, s.device_id, s.at_ns, s.phase,
    s.occurrence_id, s.part, s.counts_as, f.function, f.file, f.line, n.frame_count AS depth
FROM attribute.host_samples AS s
JOIN load.python_samples AS n USING (sample_id)
LEFT JOIN load.python_frames AS f ON f.sample_id = s.sample_id AND f.depth = 0
