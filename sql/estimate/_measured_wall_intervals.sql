-- Host time of the occurrences that enter MFU and MBU, as intervals of their phase and thread.
-- Grain: occurrence_id.
-- requires: estimate.occurrence_costs, attribute.occurrences
-- columns:
--   group_id VARCHAR  Phase and thread as JSON.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT json_array(p.phase, p.global_tid)::VARCHAR AS group_id, p.start_ns, p.end_ns
FROM attribute.occurrences AS p SEMI JOIN estimate.occurrence_costs AS c USING (occurrence_id)
WHERE p.is_measured
