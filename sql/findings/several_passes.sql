-- Ranges of decode that each run several passes of the model, and so make several tokens.
-- Grain: phase.
-- severity: error
-- message: a range of {phase} runs the layers {passes} times, by its attention kernels and matrix products: it makes several tokens, and
--   counts as one step. There is no TPOT; tokens, FLOPs, bytes, MFU and MBU are those that its mark or --shape gives one step
-- hint: mark each step of the loop with a `decode` range of its own, and leave out the one around them with --not-phase
-- concerns: estimate.occurrence_costs, attribute.request_times
-- requires: attribute.several_passes, attribute.phase_busy, attribute.pass_kernels, input.pass_ops
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time. Unit: ns.
--   passes      VARCHAR Passes in a range, on average, to three digits.
WITH found AS (
    SELECT phase, passes FROM attribute.several_passes
    UNION ALL
    SELECT k.phase, k.attention_kernels / o.attention
    FROM attribute.pass_kernels AS k JOIN input.pass_ops AS o USING (phase)
    WHERE k.phase = 'decode' AND k.phase NOT IN (SELECT phase FROM attribute.several_passes) AND o.attention > 0
        AND k.attention_kernels >= 1.9 * o.attention AND k.product_kernels >= 1.9 * o.products_min
        AND k.product_kernels > 1.05 * o.products_max
        -- What is no whole number of passes may be another model.
        AND abs(k.attention_kernels / o.attention - round(k.attention_kernels / o.attention)) < 0.02
)
SELECT f.phase, sum(b.gpu_busy_ns)::BIGINT AS at_stake_ns, format('{:.3g}', any_value(f.passes)) AS passes
FROM found AS f JOIN attribute.phase_busy AS b USING (phase)
GROUP BY f.phase
