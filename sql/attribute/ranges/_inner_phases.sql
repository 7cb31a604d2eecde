-- Phases with another one inside, on the same thread: the first of those inside.
-- Algorithm: ranges of push and pop nest, so that the next one to start is inside if any is.
-- Grain: occurrence_id.
-- requires: attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT  The outer phase. Joins attribute.phase_ranges.
--   inner_id      BIGINT  The inner one. Joins attribute.phase_ranges.
SELECT p.occurrence_id, i.occurrence_id AS inner_id
FROM attribute.phase_ranges AS p
ASOF JOIN attribute.phase_ranges AS i ON i.global_tid = p.global_tid AND i.start_ns > p.start_ns
WHERE i.start_ns <= p.end_ns AND i.end_ns <= p.end_ns
