-- Work of the occurrences that enter MFU and MBU, where occurrences of the phase interleave on a GPU.
-- Grain: one row per operation.
-- requires: estimate.occurrence_costs, attribute.occurrences, attribute.gpu_work, attribute._phase_device_spans
-- columns:
--   group_id VARCHAR  Phase and GPU as JSON.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT json_array(p.phase, w.device_id)::VARCHAR AS group_id, w.start_ns, w.end_ns
FROM attribute.gpu_work AS w
JOIN attribute.occurrences AS p USING (occurrence_id)
SEMI JOIN estimate.occurrence_costs AS c USING (occurrence_id)
SEMI JOIN (SELECT phase, device_id FROM attribute._phase_device_spans WHERE is_interleaved OR is_shared) AS s
    ON s.phase = p.phase AND s.device_id = w.device_id
WHERE p.is_measured
