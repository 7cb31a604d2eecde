-- CUDA graphs that run in no phase of a process whose passes were recorded into graphs: what the passes do is then done by the graphs.
-- Of what `torch.cuda.graph` records, phases hold the passes before it, which ran by themselves, and their steps are those of the training summary.
-- Grain: one row, none where all graphs run in phases, or no pass was recorded before.
-- severity: warning
-- message: {launch_count:,} launches of CUDA graphs lie in no phase, and passes of {phases} were recorded into graphs before: times, MFU, MBU and training steps
--   are of the passes that ran without these graphs
-- hint: if the graphs replay those passes, open a range around each launch, as with llmperf.markers.phase("step"), and read its times
-- empty without: attribute._occurrence_sizes WHERE is_recording
-- requires: attribute.gpu_work, attribute._occurrence_sizes, attribute.phase_ranges
-- columns:
--   phase        VARCHAR NULL: the graphs lie in none.
--   at_stake_ns  BIGINT  Durations of their kernels, copies and fills, added up, or of the graphs where they were recorded as a whole. Unit: ns.
--   launch_count BIGINT  Launches of graphs in no phase, behind the first pass that was recorded.
--   phases       VARCHAR Phases of the passes that were recorded.
WITH recorded AS (
    SELECT p.process_key, min(p.start_ns) AS start_ns, list(DISTINCT p.phase) AS phases
    FROM attribute._occurrence_sizes AS z JOIN attribute.phase_ranges AS p USING (occurrence_id)
    WHERE z.is_recording
    GROUP BY p.process_key
),
replayed AS (
    SELECT w.process_key, w.api_id, sum(w.end_ns - w.start_ns)::BIGINT AS time_ns
    FROM attribute.gpu_work AS w JOIN recorded AS r ON r.process_key = w.process_key AND w.launch_start_ns > r.start_ns
    WHERE w.occurrence_id IS NULL AND w.graph_node_id IS NOT NULL
    GROUP BY w.process_key, w.api_id
)
SELECT
    NULL::VARCHAR AS phase, sum(time_ns)::BIGINT AS at_stake_ns, count(*) AS launch_count,
    (
        SELECT array_to_string(list_sort(list_distinct(flatten(list(phases)))), ', ')
        FROM recorded SEMI JOIN replayed USING (process_key)
    ) AS phases
FROM replayed
HAVING count(*) > 0
