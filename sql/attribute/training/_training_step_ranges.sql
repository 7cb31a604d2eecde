-- Ranges called `step` that hold a whole training step: an optimizer works in them, and no other phase is inside.
-- Grain: occurrence_id.
-- requires: attribute.phase_ranges, attribute.gpu_work, attribute.kernel_families
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
SELECT DISTINCT p.occurrence_id
FROM attribute.phase_ranges AS p
JOIN attribute.gpu_work AS w USING (occurrence_id)
JOIN attribute.kernel_families AS f
    ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id AND f.family = 'optimizer'
WHERE p.phase = 'step' AND NOT p.is_container
