-- Ranges of training passes that hold several micro-batches, or a part of one, and count as one each: by their attention kernels.
-- Algorithm: a micro-batch has one attention kernel in each layer that a GPU has, forward and backward. Whole steps are judged by those of
-- the backward, for forwards may run again, and by the most frequent name, for some backwards take several kernels.
-- Ranks that pass keys around have several in a layer, and tell nothing, nor do those that seem to.
-- Grain: phase.
-- severity: warning
-- message: a range of {phase} runs {ratio} times the attention of a micro-batch{of_stage}, and counts as one: {why}
-- hint: {advice}
-- concerns: estimate.training_steps, estimate.occurrence_costs
-- empty without: attribute.training_passes
-- requires: attribute.training_passes, attribute.phase_kernels, attribute.occurrences, input.model, macros.is_attention_helper, estimate.other_models, estimate.doubtful_passes
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Time of its measured ranges. Unit: ns.
--   ratio       VARCHAR Attention kernels of a range, to those of a micro-batch, to three digits.
--   of_stage    VARCHAR Of what, in a pipeline.
--   why         VARCHAR What follows.
--   advice      VARCHAR What to do.
WITH pass AS (
    SELECT o.phase, count(*) FILTER (o.is_measured) AS ranges, sum(o.end_ns - o.start_ns) FILTER (o.is_measured) AS time_ns
    FROM attribute.training_passes AS t JOIN attribute.occurrences AS o USING (occurrence_id)
    WHERE t.part IN ('forward', 'step') AND t.step IS NOT NULL
    GROUP BY o.phase
),
kernel AS (
    SELECT
        k.phase, k."count",
        regexp_matches(coalesce(k.full_name, k.name), '(?i)bwd|backward|bprop|dgrad') AS is_backward
    FROM attribute.phase_kernels AS k
    WHERE k.family = 'attention' AND NOT macros.is_attention_helper(k.name, k.full_name)
),
counted AS (
    SELECT
        p.phase, p.time_ns,
        max(k."count") FILTER (k.is_backward = (p.phase <> 'forward')) / p.ranges AS most,
        sum(k."count") FILTER (k.is_backward = (p.phase <> 'forward')) / p.ranges AS kernels,
        any_value(m.trained_attention) / any_value(m.pp) AS attention, any_value(m.pp) AS pp
    FROM pass AS p
    JOIN kernel AS k USING (phase)
    CROSS JOIN (FROM input.model WHERE cp = 1 AND trained_attention IS NOT NULL) AS m
    WHERE p.ranges > 0 AND p.ranges = (SELECT count(*) FROM attribute.occurrences AS o WHERE o.phase = p.phase AND o.is_measured)
        AND NOT EXISTS (FROM estimate.other_models)
        AND NOT EXISTS (FROM estimate.doubtful_passes AS d WHERE d.shared = 'sequence')
    GROUP BY p.phase, p.time_ns, p.ranges
),
judged AS (
    SELECT *, most / attention >= 1.9 AS is_several, pp > 1 AND phase = 'forward' AND kernels / attention <= 0.6 AS is_part FROM counted
)
SELECT
    phase, time_ns::BIGINT AS at_stake_ns, format('{:.3g}', CASE WHEN is_several THEN most ELSE kernels END / attention) AS ratio,
    CASE WHEN pp > 1 THEN ' in a stage of a pipeline of ' || pp ELSE '' END AS of_stage,
    CASE
        WHEN is_several THEN 'it holds several, so that micro-batches, tokens, FLOPs and MFU are too low unless its shape is that of all of them'
        ELSE 'ranks have several stages each, so that micro-batches, tokens, FLOPs and MFU are too high'
    END AS why,
    CASE
        WHEN is_several THEN 'give the shape of all that a range holds (--shape), or mark the passes of each micro-batch'
        ELSE 'mark the passes of all stages of a rank together, or read times alone'
    END AS advice
FROM judged
WHERE is_several OR is_part
