-- The time budget of each occurrence of a phase: see time_budget.
-- Grain: occurrence_id, device_id, class; classes without time are absent, and so is what is outside every phase.
-- requires: attribute.occurrence_times, attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT   Joins phases.
--   phase         VARCHAR  Name of the phase.
--   occurrence    BIGINT   0, 1, 2, … within the phase, by start.
--   device_id     BIGINT   GPU. Joins devices.
--   class         VARCHAR  See time_budget.
--   time_ns       BIGINT   Unit: ns.
SELECT t.occurrence_id, p.phase, p.occurrence, t.device_id, t.class, t.time_ns
FROM attribute.occurrence_times AS t JOIN attribute.phase_ranges AS p USING (occurrence_id)
