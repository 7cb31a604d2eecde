-- Decode steps whose bytes are mostly those of the KV cache.
-- Half of the bytes, and at peak bandwidth a quarter of the phase's time or more.
-- Grain: phase.
-- severity: info
-- message: in {place} {share:%} of the bytes are the KV cache, which each step reads
-- hint: a KV cache in fp8, a model with fewer KV heads (GQA, MLA) or a sliding window read less; a larger batch does not help; MBU stays
--   and the class `compute` of `time_budget` shows the effect
-- empty without: estimate.phase_traffic
-- requires: attribute.phase_spending, estimate.phase_traffic
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Time of the KV cache at peak bandwidth, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   share       DOUBLE  Share of the bytes.
SELECT
    s.phase, least(t.kv_ns, s.compute_ns)::BIGINT AS at_stake_ns, 'compute' AS budget_part, s.place,
    t.kv_ns / t.memory_ns AS share
FROM attribute.phase_spending AS s JOIN estimate.phase_traffic AS t USING (phase)
WHERE s.phase = 'decode' AND 2 * t.kv_ns >= t.memory_ns AND t.kv_ns >= s.phase_ns / 4
    AND least(t.kv_ns, s.compute_ns) >= s.least_ns
