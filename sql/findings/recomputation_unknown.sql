-- Backward passes of which nobody can tell what checkpointing runs again, so that HFU is not known or a lower bound.
-- Grain: one row.
-- severity: info
-- message: HFU of the training steps {what}: {reason}
-- hint: compare with `llmperf flops MODEL --train --checkpointing full`
-- concerns: estimate.training_steps
-- empty without: attribute.training_passes
-- requires: estimate.occurrence_costs, attribute.training_passes, attribute.recomputation, input.model
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  NULL: no time is lost. Unit: ns.
--   what        VARCHAR What follows for HFU.
--   reason      VARCHAR Why.
WITH backward AS (
    SELECT count(*) AS passes, count(c.recomputed_flops) AS known, count(c.recomputed_min_flops) AS bounded
    FROM attribute.training_passes AS t JOIN estimate.occurrence_costs AS c USING (occurrence_id)
    WHERE t.part IN ('backward', 'step') AND c.flops IS NOT NULL
)
SELECT
    'backward' AS phase, NULL::BIGINT AS at_stake_ns,
    CASE WHEN b.bounded = b.passes THEN 'is a lower bound' ELSE 'is not known' END AS what,
    CASE
        WHEN r.forward_kernels IS NULL THEN 'the trace has no products of a forward apart from its backward'
        WHEN r.layers_ratio IS NULL
            THEN 'kernels of the forward run in the backward, too, and no attention kernel says for how many layers'
        WHEN r.layers_ratio = 0 THEN 'products of the forward run in the backward, too, but not its attention'
        WHEN (SELECT max(cp) FROM input.model) > 1
            THEN 'ranks share sequences, whose attention may take several kernels a layer, so that these do not tell which products run again'
        WHEN r.products_again > r.products
            THEN 'products of the backward have the names of those of the forward, as in FP8, so that nobody knows which are run again'
        ELSE 'of a layer with ' || r.products || ' products in the forward ' || coalesce(r.products_again, 0)
            || ' are run again, and nobody says which'
    END AS reason
FROM backward AS b LEFT JOIN attribute.recomputation AS r ON true
WHERE b.known < b.passes
