-- Step marks of engines, which name their requests: the first one inside each phase.
-- Grain: occurrence_id.
-- materialize: table
-- empty without: load.nvtx_marks
-- requires: load.nvtx_marks, attribute._phase_segments
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
--   process_key   BIGINT  Joins load.processes.
--   step          JSON    What the mark says.
SELECT s.occurrence_id, any_value(m.process_key) AS process_key, arg_min(m.step, m.at_ns) AS step
FROM (
    SELECT process_key, global_tid, at_ns, TRY_CAST(substr("text", 14) AS JSON) AS step
    FROM load.nvtx_marks
    WHERE starts_with("text", 'llmperf.step {') AND contains("text", '"ids"')
) AS m
ASOF JOIN attribute._phase_segments AS s ON s.global_tid = m.global_tid AND s.start_ns <= m.at_ns
WHERE s.occurrence_id IS NOT NULL AND m.step IS NOT NULL
GROUP BY s.occurrence_id
