-- Phases whose batches are padded to their longest sequence, as the marks of their steps say.
-- Grain: phase.
-- severity: info
-- message: {share} of the tokens that {phase} computes are padding ({padding_tokens:,} of {of:,}): tokens, FLOPs, MFU and MBU leave
--   them out, HFU does not
-- hint: batches of prompts of like length, packed or continuous batches have less of it
-- empty without: input.shapes WHERE padding_tokens > 0
-- requires: input.occurrence_shapes, input.shapes, attribute.occurrences, estimate.phase_costs
-- columns:
--   phase          VARCHAR Its phase.
--   at_stake_ns    BIGINT  NULL: no time is at stake. Unit: ns.
--   share          VARCHAR Share of the tokens that are padding.
--   padding_tokens BIGINT  Tokens of padding in measured passes, once for all ranks that share a pass. Unit: tokens.
--   of             BIGINT  All tokens that they compute, likewise. Unit: tokens.
WITH summed AS (
    SELECT p.phase, sum(s.padding_tokens) AS padding_tokens, sum(s.padding_tokens + s.new_tokens) AS all_tokens
    FROM attribute.occurrences AS p
    JOIN input.occurrence_shapes AS o USING (occurrence_id)
    JOIN input.shapes AS s USING (shape_id)
    -- A backward has the shape of its forward.
    WHERE p.is_measured AND s.new_tokens IS NOT NULL AND p.phase <> 'backward'
    GROUP BY p.phase
    HAVING sum(s.padding_tokens) > 0
)
SELECT
    s.phase, NULL::BIGINT AS at_stake_ns,
    CASE
        WHEN 100 * s.padding_tokens < s.all_tokens THEN 'less than 1%'
        ELSE format('{:.0f}%', 100 * s.padding_tokens / s.all_tokens)
    END AS share,
    round(s.padding_tokens / coalesce(c.sharing_ranks, 1))::BIGINT AS padding_tokens,
    round(s.all_tokens / coalesce(c.sharing_ranks, 1))::BIGINT AS of
FROM summed AS s LEFT JOIN estimate.phase_costs AS c USING (phase)
