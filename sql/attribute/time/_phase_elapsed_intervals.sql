-- Host time of phases as intervals, whatever their thread.
-- Grain: occurrence_id.
-- requires: attribute.phase_ranges
-- columns:
--   group_id VARCHAR  Phase.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT phase AS group_id, start_ns, end_ns FROM attribute.phase_ranges
