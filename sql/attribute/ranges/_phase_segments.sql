-- Disjoint stretches of each thread with the innermost phase that is open in them.
-- Grain: global_tid, start_ns.
-- materialize: table
-- requires: macros.innermost_segments, attribute._phase_spans
-- columns:
--   global_tid    BIGINT  Thread.
--   start_ns      BIGINT  First instant. Unit: ns.
--   end_ns        BIGINT  Start of the thread's next stretch, NULL in its last. Unit: ns.
--   occurrence_id BIGINT  Innermost open phase, NULL for none.
SELECT
    lane AS global_tid, start_ns, lead(start_ns) OVER (PARTITION BY lane ORDER BY start_ns) AS end_ns,
    span_id AS occurrence_id
FROM macros.innermost_segments('attribute._phase_spans')
