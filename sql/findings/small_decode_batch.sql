-- Decode steps that read all weights for a few tokens: a larger batch takes hardly longer.
-- Up to 8 tokens a step, and weights at peak bandwidth a quarter of the phase's time or more: then they are what the time goes to,
-- and four times as many tokens are far from the point at which FLOPs count.
-- Grain: phase.
-- severity: info
-- message: in {place} each step reads all weights for {batch}: {rate:,} tokens a second at {mbu:%} MBU; by the estimate a batch
--   four times as large has {larger_rate:,} a second at the same MBU, {gain} times as many
-- hint: batch more requests (continuous batching, more concurrent users), or decode several tokens at once (speculative decoding); MBU and
--   tokens a second show the effect
-- empty without: estimate.phase_traffic
-- requires: attribute.phase_spending, attribute.occurrence_times, attribute.phase_ranges, estimate.phase_traffic
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Time of the weights at peak bandwidth, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   batch       VARCHAR Tokens of a step, on average.
--   rate        BIGINT  Tokens of a step by its measured time. Unit: tokens/s.
--   mbu         DOUBLE  Time of the bytes at peak bandwidth by the measured time.
--   larger_rate BIGINT  Tokens a second of four times the batch. Unit: tokens/s.
--   gain        VARCHAR How many times the tokens a second.
WITH piece AS (
    -- A step on two GPUs has two windows, which are open at the same time.
    SELECT p.phase, count(DISTINCT (t.occurrence_id, t.device_id)) AS windows
    FROM attribute.occurrence_times AS t JOIN attribute.phase_ranges AS p USING (occurrence_id)
    GROUP BY p.phase
),
step AS (
    SELECT
        s.*, t.memory_ns, t.weight_ns, t.compute_ns AS peak_compute_ns, t.step_count AS known_count, t.tokens / t.step_count AS step_tokens,
        nullif(s.phase_ns / p.windows, 0) AS step_ns, 4 * t.memory_ns / nullif(t.memory_ns + 3 * (t.memory_ns - t.weight_ns), 0) AS times
    FROM attribute.phase_spending AS s JOIN estimate.phase_traffic AS t USING (phase) JOIN piece AS p USING (phase)
)
SELECT
    phase, least(weight_ns, compute_ns)::BIGINT AS at_stake_ns, 'compute' AS budget_part, place,
    format('{:,} token{}', ceil(step_tokens)::BIGINT, CASE WHEN ceil(step_tokens) = 1 THEN '' ELSE 's' END) AS batch, (step_tokens / step_ns * 1e9)::BIGINT AS rate,
    least(1, memory_ns / known_count / nullif(phase_ns / step_count, 0))::DOUBLE AS mbu,
    (times * step_tokens / step_ns * 1e9)::BIGINT AS larger_rate, format('{:.1f}', times) AS gain
FROM step
WHERE phase = 'decode' AND step_tokens <= 8 AND memory_ns >= 8 * peak_compute_ns AND weight_ns >= phase_ns / 4
    AND least(weight_ns, compute_ns) >= least_ns
