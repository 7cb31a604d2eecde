-- Launching calls in a trace of torch.profiler of which it does not show what the GPU did.
-- Those inside a stream capture launch nothing: they make a graph.
-- Grain: one row, none if every such call has its work, or nsys recorded the trace.
-- severity: warning
-- message: torch.profiler recorded {lost_count:,} of {launch_count:,} launching calls without what the GPU did in them: every GPU
--   time lacks it
-- hint: it drops work from before its window, and what exceeds its buffers: give `schedule` a warm-up step, record fewer steps
-- concerns: load.gpu_ops
-- empty without: load.recorder WHERE recorder = 'torch.profiler'
-- requires: load.api_calls, load.recorder, attribute._call_kinds, attribute._linked_work, attribute._stream_captures
-- columns:
--   phase        VARCHAR NULL: they may be of any phase.
--   at_stake_ns  BIGINT  NULL: their time is what is missing. Unit: ns.
--   lost_count   BIGINT  Launching calls without GPU work; those of graphs are in untraced_graphs.
--   launch_count BIGINT  All launching calls.
WITH launch AS (
    SELECT c.api_id
    FROM load.api_calls AS c
    ASOF LEFT JOIN attribute._stream_captures AS g ON g.global_tid = c.global_tid AND g.start_ns <= c.start_ns
    WHERE (SELECT recorder FROM load.recorder) = 'torch.profiler' AND NOT coalesce(g.is_begin, false)
        AND c.name_id IN (SELECT k.name_id FROM attribute._call_kinds AS k WHERE k.kind = 0 AND NOT k.may_launch)
),
lost AS (
    SELECT l.api_id FROM launch AS l
    ANTI JOIN (
        SELECT api_id FROM attribute._linked_work WHERE api_id IS NOT NULL AND (SELECT count(*) FROM launch) > 0
    ) AS w ON w.api_id = l.api_id
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, (SELECT count(*) FROM lost) AS lost_count,
    (SELECT count(*) FROM launch) AS launch_count
WHERE (SELECT count(*) FROM lost) > 0
