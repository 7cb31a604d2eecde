-- Occurrences that are left out as cold: passes of cold training steps are among them.
-- Grain: occurrence_id.
-- requires: attribute.occurrences
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
SELECT occurrence_id FROM attribute.occurrences WHERE is_left_cold
