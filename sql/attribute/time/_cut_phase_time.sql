-- When threads are in phases that the window of the analysis leaves out: the innermost one that is open is such a phase; or one has ended, and
-- a GPU still runs work of it.
-- Grain: global_tid, device_id, start_ns and phase.
-- materialize: table
-- empty without: input.cut_phases
-- requires: input.cut_phases, input.cut_phase_work, macros.innermost_segments
-- columns:
--   global_tid BIGINT  Thread.
--   device_id  BIGINT  The GPU that runs work of it, NULL while it is open: for all GPUs. Joins load.devices.
--   start_ns   BIGINT  Unit: ns.
--   end_ns     BIGINT  Unit: ns.
WITH span AS (
    SELECT global_tid AS lane, CASE WHEN kind = 'push_pop' THEN -1 - domain_id ELSE occurrence_id END AS sublane, occurrence_id AS span_id, start_ns, end_ns
    FROM input.cut_phases
),
segment AS (
    SELECT lane, start_ns, span_id, lead(start_ns) OVER (PARTITION BY lane ORDER BY start_ns) AS end_ns
    FROM macros.innermost_segments('span')
)
-- What follows an inner phase starts one instant after the end of that one.
SELECT
    p.global_tid, NULL::BIGINT AS device_id, greatest(p.start_ns, s.start_ns - 1) AS start_ns,
    least(coalesce(s.end_ns, p.end_ns), p.end_ns) AS end_ns
FROM segment AS s JOIN input.cut_phases AS p ON p.occurrence_id = s.span_id
WHERE NOT p.is_kept
UNION ALL
SELECT p.global_tid, w.device_id, p.end_ns, w.last_end_ns
FROM input.cut_phase_work AS w JOIN input.cut_phases AS p USING (occurrence_id)
WHERE w.last_end_ns > p.end_ns
