-- Prompts that are cut into chunks so small that each reads the weights for longer than it computes.
-- Only requests with several passes of prefill. A tenth of the phase's time.
-- Grain: phase.
-- severity: info
-- message: in {place} {chunk_count:,} chunks of {batch} read the weights for longer than they compute
-- hint: larger chunks (`max_num_batched_tokens`, `chunked_prefill_size`), or several prompts in one pass; MFU shows the effect
-- empty without: estimate.phase_traffic
-- requires: attribute.phase_spending, estimate.phase_costs, estimate.phase_traffic
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  What the bytes at peak take longer than the FLOPs, at most the time of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   chunk_count BIGINT  Chunks, once for all ranks that share them.
--   batch       VARCHAR Tokens of a pass, on average.
SELECT
    s.phase, least(t.chunk_ns, s.compute_ns)::BIGINT AS at_stake_ns, 'compute' AS budget_part, s.place,
    round(t.chunk_count / coalesce(c.sharing_ranks, 1))::BIGINT AS chunk_count,
    format('{:,} token{}', (t.tokens / t.step_count)::BIGINT, CASE WHEN (t.tokens / t.step_count)::BIGINT = 1 THEN '' ELSE 's' END) AS batch
FROM attribute.phase_spending AS s JOIN estimate.phase_traffic AS t USING (phase) LEFT JOIN estimate.phase_costs AS c USING (phase)
WHERE s.phase = 'prefill' AND t.memory_ns > t.compute_ns AND t.chunk_ns >= s.phase_ns / 10
    AND least(t.chunk_ns, s.compute_ns) >= s.least_ns
