-- Host time of phases as intervals of their thread.
-- Grain: occurrence_id, start_ns.
-- requires: attribute.phase_ranges, attribute._host_intervals
-- columns:
--   group_id VARCHAR  Phase and thread as JSON.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT json_array(p.phase, p.global_tid)::VARCHAR AS group_id, h.start_ns, h.end_ns
FROM attribute.phase_ranges AS p JOIN attribute._host_intervals AS h USING (occurrence_id)
