-- Decode steps that read all weights for a few tokens: a larger batch takes hardly longer.
-- Up to 8 tokens a step, and weights at peak bandwidth a quarter of the phase's time or more: then they are what the time goes to,
-- and four times as many tokens are far from the point at which FLOPs count.
-- Grain: phase.
-- severity: info
-- message: in {place} each step reads all weights for {tokens:,} tokens: by the estimate a batch four times as large has {gain} times the
--   tokens a second
-- hint: batch more requests (continuous batching, more concurrent users), or decode several tokens at once (speculative decoding); MBU and
--   tokens a second show the effect
-- requires: attribute.phase_spending, estimate.phase_traffic
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Time of the weights at peak bandwidth, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   tokens      BIGINT  Tokens of a step, on average.
--   gain        VARCHAR How many times the tokens a second.
SELECT
    s.phase, least(t.weight_ns, s.compute_ns)::BIGINT AS at_stake_ns, 'compute' AS budget_part, s.place,
    ceil(t.tokens / t.step_count)::BIGINT AS tokens,
    format('{:.1f}', 4 * t.memory_ns / (t.memory_ns + 3 * (t.memory_ns - t.weight_ns))) AS gain
FROM attribute.phase_spending AS s JOIN estimate.phase_traffic AS t USING (phase)
WHERE s.phase = 'decode' AND t.tokens <= 8 * t.step_count AND t.memory_ns >= 8 * t.compute_ns
    AND t.weight_ns >= s.phase_ns / 4 AND least(t.weight_ns, s.compute_ns) >= s.least_ns
