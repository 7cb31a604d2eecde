-- Work of phases that several processes run on one GPU, as intervals of the phase on that GPU.
-- Grain: one row per operation.
-- requires: attribute.gpu_work, attribute.phase_ranges, attribute._phase_device_spans
-- columns:
--   group_id VARCHAR  Phase and GPU as JSON.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT json_array(p.phase, w.device_id)::VARCHAR AS group_id, w.start_ns, w.end_ns
FROM attribute.gpu_work AS w
JOIN attribute.phase_ranges AS p USING (occurrence_id)
SEMI JOIN (SELECT phase, device_id FROM attribute._phase_device_spans WHERE is_shared) AS s
    ON s.phase = p.phase AND s.device_id = w.device_id
