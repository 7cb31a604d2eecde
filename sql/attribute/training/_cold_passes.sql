-- Occurrences that are cold, or belong to a training step that is.
-- Grain: occurrence_id.
-- requires: attribute.cold_occurrences, attribute.training_passes, attribute.training_step_spans
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
SELECT occurrence_id FROM attribute.cold_occurrences
UNION
SELECT t.occurrence_id
FROM attribute.training_passes AS t JOIN attribute.training_step_spans AS s ON s.lane = t.lane AND s.step = t.step
WHERE s.is_cold
