-- Samples of Python's stacks, each with what its thread does at that instant for each GPU of its process, and the phase that it counts to.
-- As in the time budget, each GPU has idle time of its own; it belongs to the phase of the operation that ends it, and the thread
-- that launched that one says why; after the last operation of a window, to the phase that is open.
-- Grain: sample_id, device_id.
-- materialize: table
-- empty without: load.python_samples
-- requires: load.python_samples, macros.islands, attribute.gpu_work, attribute.range_segments, attribute.occurrences, attribute._thread_calls, attribute._thread_windows, attribute.windows
-- columns:
--   sample_id     BIGINT  Joins load.python_frames.
--   global_tid    BIGINT  The sampled thread. Joins load.threads.
--   device_id     BIGINT  A GPU that its process uses, NULL if it uses none. Joins load.devices.
--   at_ns         BIGINT  When. Unit: ns.
--   occurrence_id BIGINT  Innermost phase that is open on the thread, NULL for none. Joins attribute.occurrences.
--   part          VARCHAR 'busy' while the GPU works for the process; 'latency' after the return of the call that launches what it
--                         does next; else by the call that the thread is in: 'launch', 'sync', 'api' (another CUDA call),
--                         'host' (none).
--   counts_as     VARCHAR What it counts as: its part, if the budget has the instant, and the thread is the one that launches
--                         what ends the idle time; 'cold' in a cold occurrence that is left out; else NULL.
--   phase         VARCHAR Phase that it counts to, NULL outside every phase.
WITH process AS (
    SELECT DISTINCT global_tid >> 24 AS process_key FROM load.python_samples
),
operation AS (
    SELECT
        w.process_key, coalesce(w.device_id, 0) AS device_id, w.op_id, w.start_ns, w.end_ns, w.global_tid, w.occurrence_id,
        greatest(w.launch_start_ns, w.launch_end_ns) AS launch_end_ns
    FROM attribute.gpu_work AS w SEMI JOIN process AS p USING (process_key)
    WHERE w.end_ns > w.start_ns
),
work AS (
    SELECT {'process_key': process_key, 'device_id': device_id} AS group_id, start_ns, end_ns FROM operation
),
busy AS (
    SELECT group_id, start_ns, end_ns FROM macros.islands('work')
),
-- Of operations that start together the first one, as in the budget.
start AS (
    SELECT
        {'process_key': process_key, 'device_id': device_id} AS lane, start_ns,
        unnest(arg_min({'global_tid': global_tid, 'occurrence_id': occurrence_id, 'launch_end_ns': launch_end_ns}, op_id))
    FROM operation
    GROUP BY process_key, device_id, start_ns
),
call AS (
    SELECT c.global_tid, c.start_ns, c.end_ns, c.kind
    FROM attribute._thread_calls AS c SEMI JOIN (SELECT DISTINCT global_tid FROM load.python_samples) AS s USING (global_tid)
),
launching AS (
    SELECT DISTINCT global_tid FROM call WHERE kind = 0
),
measured AS (
    SELECT {'global_tid': global_tid, 'device_id': device_id} AS group_id, start_ns, end_ns FROM attribute._thread_windows WHERE global_tid >= 0
    UNION ALL
    SELECT {'global_tid': l.global_tid, 'device_id': w.device_id}, w.start_ns, w.end_ns FROM attribute._thread_windows AS w CROSS JOIN launching AS l WHERE w.global_tid < 0
),
"window" AS (
    SELECT group_id, start_ns, end_ns FROM macros.islands('measured')
),
-- The GPUs' measured time, whichever thread has it.
gpu_window AS (
    SELECT device_id, start_ns, end_ns FROM attribute.windows
),
device AS (
    SELECT DISTINCT process_key, coalesce(device_id, 0) AS device_id FROM attribute.gpu_work
),
lane AS (
    SELECT
        s.sample_id, s.global_tid, s.at_ns, d.device_id, {'process_key': d.process_key, 'device_id': d.device_id} AS lane,
        {'global_tid': s.global_tid, 'device_id': d.device_id} AS thread_lane
    FROM load.python_samples AS s
    LEFT JOIN device AS d ON d.process_key = s.global_tid >> 24
),
sample AS (
    SELECT
        s.sample_id, s.global_tid, s.at_ns, s.device_id, s.lane, r.occurrence_id, coalesce(s.at_ns < b.end_ns, false) AS is_busy,
        CASE WHEN s.at_ns < c.end_ns THEN CASE c.kind WHEN 0 THEN 'launch' WHEN 1 THEN 'sync' ELSE 'api' END ELSE 'host' END AS doing,
        coalesce(s.at_ns < w.end_ns, false) AS is_in_window, CASE WHEN s.at_ns < g.end_ns THEN g.end_ns END AS window_end_ns
    FROM lane AS s
    ASOF LEFT JOIN attribute.range_segments AS r ON r.global_tid = s.global_tid AND r.start_ns <= s.at_ns
    ASOF LEFT JOIN busy AS b ON b.group_id = s.lane AND b.start_ns <= s.at_ns
    ASOF LEFT JOIN call AS c ON c.global_tid = s.global_tid AND c.start_ns <= s.at_ns
    ASOF LEFT JOIN "window" AS w ON w.group_id = s.thread_lane AND w.start_ns <= s.at_ns
    ASOF LEFT JOIN gpu_window AS g ON g.device_id = s.device_id AND g.start_ns <= s.at_ns
),
ended AS (
    SELECT
        s.sample_id, s.global_tid, s.at_ns, s.device_id, s.occurrence_id, s.is_in_window, coalesce(n.start_ns < s.window_end_ns, false) AS ends_in_window,
        CASE
            WHEN s.is_busy THEN 'busy'
            WHEN n.global_tid = s.global_tid AND n.launch_end_ns <= s.at_ns THEN 'latency'
            ELSE s.doing
        END AS part,
        n.global_tid AS next_tid, n.occurrence_id AS next_occurrence_id
    FROM sample AS s ASOF LEFT JOIN start AS n ON n.lane = s.lane AND n.start_ns > s.at_ns
),
counted AS (
    SELECT
        e.sample_id, e.global_tid, e.at_ns, e.device_id, e.occurrence_id, e.part,
        CASE WHEN e.part <> 'busy' AND e.ends_in_window THEN e.next_occurrence_id ELSE e.occurrence_id END AS counted_id,
        CASE WHEN e.part <> 'busy' AND e.ends_in_window THEN coalesce(e.next_tid = e.global_tid, false) ELSE e.is_in_window END AS is_measured
    FROM ended AS e
)
SELECT
    c.sample_id, c.global_tid, c.device_id, c.at_ns, c.occurrence_id, c.part,
    CASE WHEN o.is_left_cold THEN 'cold' WHEN c.is_measured THEN c.part END AS counts_as,
    CASE WHEN o.is_left_cold OR NOT c.is_measured THEN o.phase ELSE p.phase END AS phase
FROM counted AS c
LEFT JOIN attribute.occurrences AS o ON o.occurrence_id = c.occurrence_id
LEFT JOIN attribute.occurrences AS p ON p.occurrence_id = c.counted_id
