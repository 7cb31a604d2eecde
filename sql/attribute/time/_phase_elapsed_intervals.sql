-- Host time of phases as intervals, whatever their thread.
-- Grain: occurrence_id, start_ns.
-- requires: attribute.phase_ranges, attribute._host_intervals
-- columns:
--   group_id VARCHAR  Phase.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT p.phase AS group_id, h.start_ns, h.end_ns
FROM attribute.phase_ranges AS p JOIN attribute._host_intervals AS h USING (occurrence_id)
