-- Shapes of the steps outside warm-up.
-- Grain: shape_id.
-- requires: input.occurrence_shapes, attribute.phase_ranges
-- columns:
--   shape_id    BIGINT Joins input.shapes.
--   occurrences BIGINT Steps of this shape.
SELECT o.shape_id, count(*) AS occurrences
FROM input.occurrence_shapes AS o JOIN attribute.phase_ranges AS p USING (occurrence_id)
WHERE NOT p.is_warmup
GROUP BY o.shape_id
