-- Samples of Python's stacks, which `capture --python` records: the innermost frame of each.
-- Grain: sample_id.
-- requires: attribute.host_samples, attribute.occurrences, load.python_frames, load.python_samples
-- columns:
--   sample_id     BIGINT  The sample.
--   process_id    BIGINT  Operating-system pid.
--   thread_id     BIGINT  Operating-system tid of the sampled thread. Joins threads.
--   at_ns         BIGINT  When. Unit: ns.
--   phase         VARCHAR Phase that is open on the thread, or NULL.
--   occurrence_id BIGINT  The occurrence. Joins phases.
--   part          VARCHAR 'busy' while a GPU works for the process, else by the CUDA call that the thread is in: 'launch',
--                         'sync', 'api' (another one), 'host' (none).
--   function      VARCHAR The function that ran.
--   file          VARCHAR Its file.
--   line          BIGINT  Its line.
--   depth         BIGINT  Frames of the stack.
SELECT
    s.sample_id, s.global_tid >> 24 & 16777215 AS process_id, s.global_tid & 16777215 AS thread_id, s.at_ns, p.phase,
    s.occurrence_id, s.part, f.function, f.file, f.line, n.frame_count AS depth
FROM attribute.host_samples AS s
JOIN load.python_samples AS n USING (sample_id)
LEFT JOIN load.python_frames AS f ON f.sample_id = s.sample_id AND f.depth = 0
LEFT JOIN attribute.occurrences AS p ON p.occurrence_id = s.occurrence_id
