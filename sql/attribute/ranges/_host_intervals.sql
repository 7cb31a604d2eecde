-- Host time of each phase as intervals: its range, or, of one that groups other phases, the stretches between those.
-- Grain: occurrence_id, start_ns.
-- requires: attribute._marked_phases, attribute._phase_segments
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
SELECT occurrence_id, start_ns, end_ns FROM attribute._marked_phases WHERE NOT (is_container AND kind = 'push_pop')
UNION ALL
-- A stretch after an inner phase starts one instant after the end of that one.
SELECT
    p.occurrence_id, CASE WHEN s.start_ns > p.start_ns THEN s.start_ns - 1 ELSE s.start_ns END AS start_ns,
    least(coalesce(s.end_ns, p.end_ns), p.end_ns) AS end_ns
FROM attribute._phase_segments AS s JOIN attribute._marked_phases AS p USING (occurrence_id)
WHERE p.is_container AND p.kind = 'push_pop'
