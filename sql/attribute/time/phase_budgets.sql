-- What the measured time of each phase was spent on, over all GPUs.
-- Grain: phase, class; phase is NULL outside every phase.
-- requires: attribute.occurrence_times, attribute.phase_ranges
-- columns:
--   phase   VARCHAR Its name, or NULL.
--   class   VARCHAR What the time was spent on: see the view time_budget.
--   time_ns BIGINT  Time. Unit: ns.
SELECT p.phase, t.class, sum(t.time_ns)::BIGINT AS time_ns
FROM attribute.occurrence_times AS t LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
GROUP BY p.phase, t.class
