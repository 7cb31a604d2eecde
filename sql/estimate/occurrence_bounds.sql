-- Whether what is counted of an occurrence is exact: the one place that decides it, for phases, shapes, stages, ranks and training steps.
-- Each condition is that of a finding which says so: a part that is not counted makes a lower bound, what may not have had to run an
-- upper one.
-- Grain: occurrence_id; those of estimate.occurrence_costs.
-- materialize: table
-- empty without: estimate.occurrence_costs
-- requires: estimate.occurrence_costs, attribute.phase_ranges, attribute._step_marks, input.model, input.shapes, input.shape_costs, input.shape_ops
-- columns:
--   occurrence_id          BIGINT  Joins attribute.phase_ranges.
--   is_lower_bound         BOOLEAN Parts of the model that nobody counts may have run in it: FLOPs and bytes, with padding and without,
--                                  are lower bounds.
--   is_upper_bound         BOOLEAN It may be charged for more than it had to do: FLOPs and bytes are upper bounds.
--   is_tokens_upper_bound  BOOLEAN Of these: for padding, so that tokens are, too.
--   is_hfu_upper_bound     BOOLEAN Of these: for what nothing ran, so that FLOPs with padding (executed_flops) are, too.
--   sure_compute_ns        DOUBLE  compute_ns of what its GPUs ran for certain, padding with it; 0 if nothing is certain. Unit: ns.
--   sure_memory_ns         DOUBLE  memory_ns of it: of weights alone if nothing says which tokens the program left out. Unit: ns.
SELECT
    c.occurrence_id,
    -- Towers run once for the prompt, and in no decode step.
    coalesce(m.not_counted IS NOT NULL AND p.phase <> 'decode', false)
    OR coalesce(m.has_adapters AND s.part IS NULL AND p.phase IN ('prefill', 'decode', 'verify', 'mixed', 'guidance'), false)
    OR coalesce(TRY_CAST(json_extract(e.step, '$.adapters') AS BIGINT) > 0, false)
    OR coalesce(s.head = 'unknown' OR (s.head = 'apart' AND s.part IS NOT NULL), false)
    OR (
        s.part IS NOT NULL AND coalesce(m.has_expert_adapters OR m.further_layers > 0, false)
    )
    OR (s.part IN ('backward', 'step') AND g.picks_keys) AS is_lower_bound,
    s.is_unread OR s.may_have_ended OR s.counts_encoder_again AS is_upper_bound,
    s.is_unread OR s.may_have_ended AS is_tokens_upper_bound,
    s.counts_encoder_again AS is_hfu_upper_bound,
    -- What is behind the end of a sequence is computed all the same. Of a mask that nobody read, a program may make what it likes.
    CASE WHEN s.is_unread OR s.counts_encoder_again THEN 0 ELSE coalesce(c.compute_ns, c.compute_min_ns) END AS sure_compute_ns,
    CASE
        -- Which experts are read depends on the tokens.
        WHEN s.counts_encoder_again OR (s.is_unread AND (m.dense_layers IS NULL OR w.weight_bytes IS NULL)) THEN 0
        WHEN s.is_unread THEN c.memory_ns * w.weight_bytes / nullif(w.bytes, 0)
        ELSE coalesce(c.memory_ns, c.memory_min_ns)
    END AS sure_memory_ns
FROM estimate.occurrence_costs AS c
JOIN attribute.phase_ranges AS p USING (occurrence_id)
JOIN input.shapes AS s USING (shape_id)
LEFT JOIN input.shape_costs AS w USING (shape_id)
LEFT JOIN attribute._step_marks AS e USING (occurrence_id)
LEFT JOIN input.model AS m ON true
CROSS JOIN (SELECT count(*) > 0 AS picks_keys FROM input.shape_ops WHERE starts_with(name, 'index_')) AS g
