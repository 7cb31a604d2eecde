-- Ranges of training passes that hold several micro-batches, or a part of one, and count as one each: by their attention kernels, or by the
-- stages that torch's pipeline schedules name.
-- Algorithm: a micro-batch has one attention kernel in each layer that a GPU has, forward and backward. Whole steps are judged by those of
-- the backward, for forwards may run again, and by the most frequent name, for some backwards take several kernels.
-- Ranks that pass keys around have several in a layer, and tell nothing, nor do those that seem to.
-- Grain: phase.
-- severity: warning
-- message: a range of {phase} {share}, and counts as one micro-batch: {why}
-- hint: {advice}
-- concerns: estimate.training_steps, estimate.occurrence_costs
-- empty without: attribute.training_passes
-- requires: attribute.training_passes, attribute.phase_kernels, attribute.occurrences, attribute.phase_texts, input.model, macros.is_attention_helper, estimate.other_models, estimate.doubtful_passes
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Time of its measured ranges. Unit: ns.
--   share       VARCHAR What of a micro-batch it runs.
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
staged AS (
    SELECT phase, max(stages) AS stages
    FROM (
        SELECT o.phase, count(DISTINCT regexp_extract(t.name, '^PP:(\d+)F\d+$', 1)) AS stages
        FROM attribute.occurrences AS o JOIN attribute.phase_texts AS t USING (occurrence_id)
        WHERE o.phase = 'forward' AND regexp_matches(t.name, '^PP:\d+F\d+$')
        GROUP BY o.phase, o.process_key
    )
    GROUP BY phase
    HAVING max(stages) > 1
),
judged AS (
    SELECT *, most / attention >= 1.9 AS is_several, pp > 1 AND phase = 'forward' AND kernels / attention <= 0.6 AS is_part FROM counted
),
found AS (
    SELECT
        phase, time_ns,
        format('runs {:.3g} times the attention of a micro-batch', CASE WHEN is_several THEN most ELSE kernels END / attention)
            || CASE WHEN pp > 1 THEN ' in a stage of a pipeline of ' || pp ELSE '' END AS share,
        is_several
    FROM judged ANTI JOIN staged USING (phase)
    WHERE is_several OR is_part
    UNION ALL
    SELECT phase, p.time_ns, format('is of one of {} stages of its rank', s.stages), false
    FROM staged AS s JOIN pass AS p USING (phase)
)
SELECT
    phase, time_ns::BIGINT AS at_stake_ns, share,
    CASE
        WHEN is_several THEN 'it holds several, so that micro-batches, tokens, FLOPs and MFU are too low unless its shape is that of all of them'
        ELSE 'ranks have several stages each, so that micro-batches, tokens, FLOPs and MFU are too high'
    END AS why,
    CASE
        WHEN is_several THEN 'give the shape of all that a range holds (--shape), or mark the passes of each micro-batch'
        ELSE 'mark the passes of all stages of a rank together, or read times alone'
    END AS advice
FROM found
