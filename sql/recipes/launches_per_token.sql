-- How many launches does a token cost?
-- Host calls that launch the GPU work of a phase, per range and per token: a CUDA graph is one. Warm-up and cold ranges are left
-- out. Tokens need a known shape.
-- columns:
--   phase                VARCHAR  Name of the phase.
--   occurrences          BIGINT   Ranges that count.
--   tokens               BIGINT   Tokens through the model, of each range: ranks that share a pass have it each. NULL where a shape is not known. Unit: tokens.
--   launches_per_range   DOUBLE   Launching calls of a range.
--   launches_per_token   DOUBLE   The same per token.
--   gpu_busy_per_token_ns DOUBLE  GPU busy time per token, added up over GPUs. Unit: ns.
WITH total AS (
    SELECT
        phase, count(*) AS occurrences, CASE WHEN count(new_tokens) = count(*) THEN sum(new_tokens)::BIGINT END AS tokens,
        sum(launch_call_count) AS launches, sum(gpu_busy_ns) AS gpu_busy_ns, min(start_ns) AS first_ns
    FROM phases
    WHERE is_measured
    GROUP BY phase
)
SELECT
    phase, occurrences, tokens, (launches / occurrences)::DOUBLE AS launches_per_range,
    (launches / nullif(tokens, 0))::DOUBLE AS launches_per_token,
    (gpu_busy_ns / nullif(tokens, 0))::DOUBLE AS gpu_busy_per_token_ns
FROM total
ORDER BY first_ns, phase
