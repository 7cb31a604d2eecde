-- Disjoint stretches of each thread with the innermost phase that is open in them.
-- Grain: global_tid, start_ns.
-- materialize: table
-- requires: macros.innermost_segments, load.nvtx_ranges, attribute._marked_phases, attribute._inferred_phases
-- columns:
--   global_tid    BIGINT  Thread.
--   start_ns      BIGINT  First instant. Unit: ns.
--   end_ns        BIGINT  Start of the thread's next stretch, NULL in its last. Unit: ns.
--   occurrence_id BIGINT  Innermost open phase, NULL for none.
WITH open_phase AS (
    SELECT r.global_tid AS lane, r.domain_id AS sublane, r.range_id AS span_id, p.start_ns, p.end_ns
    FROM load.nvtx_ranges AS r JOIN attribute._marked_phases AS p ON p.occurrence_id = r.range_id
    WHERE r.kind = 'push_pop'
    UNION ALL
    SELECT global_tid, -1, occurrence_id, start_ns, end_ns FROM attribute._inferred_phases
)
SELECT
    lane AS global_tid, start_ns, lead(start_ns) OVER (PARTITION BY lane ORDER BY start_ns) AS end_ns,
    span_id AS occurrence_id
FROM macros.innermost_segments('open_phase')
