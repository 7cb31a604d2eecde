-- GPU work of phases outside warm-up, as intervals of the phase on a GPU.
-- Grain: one row per operation.
-- requires: attribute.gpu_work, attribute.phase_ranges
-- columns:
--   group_id STRUCT(lane BIGINT, phase VARCHAR)  The GPU and the phase.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT {'lane': coalesce(w.device_id, 0), 'phase': p.phase} AS group_id, w.start_ns, w.end_ns
FROM attribute.gpu_work AS w JOIN attribute.phase_ranges AS p USING (occurrence_id)
WHERE NOT p.is_warmup
