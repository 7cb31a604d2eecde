-- Occurrences that are left out as cold, or belong to a training step that is.
-- Grain: occurrence_id.
-- requires: attribute.occurrences, attribute.training_passes, attribute.training_step_spans
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
SELECT occurrence_id FROM attribute.occurrences WHERE is_left_cold
UNION
SELECT t.occurrence_id
FROM attribute.training_passes AS t JOIN attribute.training_step_spans AS s ON s.lane = t.lane AND s.step = t.step
WHERE s.is_left_cold
