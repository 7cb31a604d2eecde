-- What the measured time of each phase was spent on, over all GPUs.
-- Grain: phase, class; phase is NULL outside every phase.
-- requires: attribute.occurrence_times, attribute.occurrences
-- columns:
--   phase     VARCHAR Its name, or NULL.
--   class     VARCHAR What the time was spent on: see the view time_budget.
--   time_ns   BIGINT  Time. Unit: ns.
--   median_ns BIGINT  Median over the measured occurrences, NULL outside every phase. Unit: ns.
WITH spent AS (
    SELECT p.phase, t.occurrence_id, t.class, sum(t.time_ns)::BIGINT AS time_ns
    FROM attribute.occurrence_times AS t LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    GROUP BY p.phase, t.occurrence_id, t.class
),
total AS (
    SELECT phase, class, sum(time_ns)::BIGINT AS time_ns FROM spent GROUP BY phase, class
),
middle AS (
    SELECT t.phase, t.class, median(coalesce(s.time_ns, 0))::BIGINT AS median_ns
    FROM attribute.occurrences AS p
    JOIN total AS t USING (phase)
    LEFT JOIN spent AS s ON s.occurrence_id = p.occurrence_id AND s.class = t.class
    WHERE p.is_measured
    GROUP BY t.phase, t.class
)
SELECT t.phase, t.class, t.time_ns, m.median_ns FROM total AS t LEFT JOIN middle AS m USING (phase, class)
