-- Work of phases whose occurrences interleave on a GPU, as intervals of the phase.
-- Grain: one row per operation and per group it belongs to.
-- requires: attribute.gpu_work, attribute.phase_ranges, attribute._phase_device_spans
-- columns:
--   group_id VARCHAR  Phase, GPU and process as JSON.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT json_array(p.phase, w.device_id, w.process_key)::VARCHAR AS group_id, w.start_ns, w.end_ns
FROM attribute.gpu_work AS w
JOIN attribute.phase_ranges AS p USING (occurrence_id)
JOIN attribute._phase_device_spans AS s
    ON s.phase = p.phase AND s.device_id = w.device_id AND s.process_key = w.process_key
WHERE s.is_interleaved
