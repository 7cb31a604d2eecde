-- Host time of phases as intervals of their thread.
-- Grain: occurrence_id.
-- requires: attribute.phase_ranges
-- columns:
--   group_id VARCHAR  Phase and thread as JSON.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT json_array(phase, global_tid)::VARCHAR AS group_id, start_ns, end_ns FROM attribute.phase_ranges
