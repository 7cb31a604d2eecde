-- The mark that says the shape of a step: the first in the occurrence that begins with `llmperf.step`.
-- Grain: occurrence_id; occurrences without a mark are absent.
-- empty without: load.nvtx_marks
-- requires: load.nvtx_marks, attribute._phase_segments
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
--   text          VARCHAR The mark's text.
SELECT s.occurrence_id, arg_min(m."text", m.at_ns) AS "text"
FROM (SELECT global_tid, at_ns, "text" FROM load.nvtx_marks WHERE starts_with("text", 'llmperf.step ')) AS m
ASOF JOIN attribute._phase_segments AS s ON s.global_tid = m.global_tid AND s.start_ns <= m.at_ns
WHERE s.occurrence_id IS NOT NULL
GROUP BY s.occurrence_id
