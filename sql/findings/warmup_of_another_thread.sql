-- Phases that start while another thread of their process is in warm-up: warm-up is what a range of their own thread encloses.
-- Grain: phase.
-- severity: warning
-- message: {occurrence_count:,} of the ranges of {phase} start while a warm-up range of another thread is open, and count as measured
-- hint: open the warm-up range on the thread that runs the phases, as `nsys_pipeline.markers.phase("warmup")` does there
-- concerns: attribute.phase_walls, views.phases, estimate.occurrence_costs
-- empty without: attribute._warmup_spans
-- requires: attribute.phase_ranges, attribute._warmup_spans, load.nvtx_ranges
-- columns:
--   phase            VARCHAR The phase.
--   at_stake_ns      BIGINT  Wall time of these ranges. Unit: ns.
--   occurrence_count BIGINT  Such ranges.
SELECT p.phase, sum(p.wall_ns)::BIGINT AS at_stake_ns, count(*) AS occurrence_count
FROM attribute.phase_ranges AS p
ASOF JOIN (
    SELECT r.process_key, w.lane, w.start_ns, w.end_ns
    FROM attribute._warmup_spans AS w JOIN load.nvtx_ranges AS r ON r.range_id = w.span_id
) AS warmup ON warmup.process_key = p.process_key AND warmup.start_ns <= p.start_ns
WHERE NOT p.is_warmup AND warmup.lane <> p.global_tid AND warmup.end_ns > p.start_ns
GROUP BY p.phase
