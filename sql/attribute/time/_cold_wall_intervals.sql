-- Host time of cold occurrences that are left out, as intervals of its phase and thread.
-- Grain: occurrence_id, start_ns.
-- requires: attribute.occurrences, attribute._host_intervals
-- columns:
--   group_id VARCHAR  Phase and thread as JSON.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT json_array(p.phase, p.global_tid)::VARCHAR AS group_id, h.start_ns, h.end_ns
FROM attribute.occurrences AS p JOIN attribute._host_intervals AS h USING (occurrence_id)
WHERE p.is_left_cold
