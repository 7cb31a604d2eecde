-- Samples of Python's stacks, each with the phase that its thread is in and what the thread does for the GPUs at that instant.
-- Grain: sample_id.
-- materialize: table
-- requires: load.python_samples, load.gpu_ops, macros.islands, attribute.range_segments, attribute._thread_calls
-- columns:
--   sample_id     BIGINT  Joins load.python_frames.
--   global_tid    BIGINT  The sampled thread. Joins load.threads.
--   at_ns         BIGINT  When. Unit: ns.
--   occurrence_id BIGINT  Innermost phase that is open on the thread, NULL for none. Joins attribute.occurrences.
--   part          VARCHAR 'busy' while a GPU works for the process, else by the call that the thread is in: 'launch', 'sync',
--                         'api' (another CUDA call), 'host' (none).
WITH work AS (
    SELECT process_key AS group_id, start_ns, end_ns FROM load.gpu_ops
),
busy AS (
    SELECT group_id, start_ns, end_ns FROM macros.islands('work')
)
SELECT
    s.sample_id, s.global_tid, s.at_ns, r.occurrence_id,
    CASE
        WHEN s.at_ns < b.end_ns THEN 'busy'
        WHEN s.at_ns < c.end_ns THEN CASE c.kind WHEN 0 THEN 'launch' WHEN 1 THEN 'sync' ELSE 'api' END
        ELSE 'host'
    END AS part
FROM load.python_samples AS s
ASOF LEFT JOIN attribute.range_segments AS r ON r.global_tid = s.global_tid AND r.start_ns <= s.at_ns
ASOF LEFT JOIN busy AS b ON b.group_id = s.global_tid >> 24 AND b.start_ns <= s.at_ns
ASOF LEFT JOIN attribute._thread_calls AS c ON c.global_tid = s.global_tid AND c.start_ns <= s.at_ns
