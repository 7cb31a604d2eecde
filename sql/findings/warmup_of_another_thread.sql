-- Phases that start while another thread of their process is in warm-up: warm-up is what a range of their own thread encloses.
-- Grain: phase.
-- severity: warning
-- message: {occurrence_count:,} of the ranges of {phase} start while a warm-up range of another thread is open, and count as measured
-- hint: open the warm-up range on the thread that runs the phases, as `nsys_pipeline.markers.phase("warmup")` does there
-- concerns: attribute.phase_walls, views.phases, estimate.occurrence_costs
-- empty without: attribute._warmup_spans
-- requires: attribute.phase_ranges, attribute._warmup_spans, load.nvtx_ranges, macros.islands
-- columns:
--   phase            VARCHAR The phase.
--   at_stake_ns      BIGINT  Wall time of these ranges. Unit: ns.
--   occurrence_count BIGINT  Such ranges.
WITH other AS MATERIALIZED (
    SELECT r.process_key AS group_id, w.start_ns, w.end_ns
    FROM attribute._warmup_spans AS w JOIN load.nvtx_ranges AS r ON r.range_id = w.span_id
),
own AS MATERIALIZED (
    SELECT lane AS group_id, start_ns, end_ns FROM attribute._warmup_spans
)
SELECT p.phase, sum(p.wall_ns)::BIGINT AS at_stake_ns, count(*) AS occurrence_count
FROM attribute.phase_ranges AS p
ASOF JOIN macros.islands('other') AS w ON w.group_id = p.process_key AND w.start_ns <= p.start_ns
ASOF LEFT JOIN macros.islands('own') AS o ON o.group_id = p.global_tid AND o.start_ns <= p.start_ns
WHERE NOT p.is_warmup AND w.end_ns > p.start_ns AND coalesce(o.end_ns <= p.start_ns, true)
GROUP BY p.phase
