-- Shapes of the measured steps.
-- Grain: shape_id.
-- empty without: input.occurrence_shapes
-- requires: input.occurrence_shapes, attribute.occurrences
-- columns:
--   shape_id    BIGINT Joins input.shapes.
--   occurrences BIGINT Steps of this shape.
SELECT o.shape_id, count(*) AS occurrences
FROM input.occurrence_shapes AS o JOIN attribute.occurrences AS p USING (occurrence_id)
WHERE p.is_measured
GROUP BY o.shape_id
