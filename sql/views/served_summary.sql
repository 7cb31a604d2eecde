-- What an engine served in all: throughput, prefix cache, guesses. Warm-up left out, cold steps
-- counted: they took their time. Of all engines and replicas together. Latencies of the same requests: request_summary.
-- Grain: one row; no row without a step that names its requests.
-- empty without: attribute.served_request_times
-- requires: attribute.served_request_times, input.goodput_limits
-- columns:
--   requests           BIGINT Requests with a step in the recording.
--   cold_requests      BIGINT Of those, with a step that is left out of the times of phases as cold; they count here.
--   given_up_requests  BIGINT Requests that their client gave up, or the server's front end ended, as vLLM's does at a stop string; they count with what they had.
--   span_ns            BIGINT From the first arrival, or first step where no arrival was recorded or a window cuts requests, to the last token. Unit: ns.
--   requests_per_s     DOUBLE requests / span.
--   new_tokens         BIGINT Tokens that they generated; with SGLang's overlapping scheduler, or vLLM's asynchronous one before a limit, perhaps one more of each, which is thrown away. Unit: tokens.
--   new_tokens_per_s   DOUBLE new_tokens / span. Unit: tokens/s.
--   latency_p50_ns     BIGINT Median time from arrival to the last token or, of models that generate none, the result. Unit: ns.
--   latency_p90_ns     BIGINT 90th percentile; NULL with fewer than 10 requests. Unit: ns.
--   latency_p99_ns     BIGINT 99th percentile; NULL with fewer than 100. Unit: ns.
--   prompt_tokens      BIGINT Lengths of the prompts that began in the recording. Unit: tokens.
--   reused_tokens      BIGINT Of those, found in the cache: prefix cache or KV transfer. Unit: tokens.
--   reused_ratio       DOUBLE reused_tokens / prompt_tokens.
--   computed_tokens    BIGINT Of those, computed in the recording, not found; what comes behind its end, or was given up before, is neither. Unit: tokens.
--   prompt_tokens_per_s DOUBLE computed_tokens / span. Unit: tokens/s.
--   prefill_steps      BIGINT Chunks in which these prompts were computed.
--   preemptions        BIGINT How often a request was preempted and computed again.
--   draft_tokens       BIGINT Guesses that were checked. Unit: tokens.
--   judged_tokens      BIGINT Of those, guesses of which a later step shows how many were right: not those of a request's last step. Unit: tokens.
--   accepted_tokens    BIGINT Of those, the ones that were right. Unit: tokens.
--   good_requests      BIGINT Requests within the limits of --goodput, of those whose arrival and first token were recorded; NULL without limits.
--   goodput_per_s      DOUBLE good_requests / the time from the first arrival to the last token of those requests.
WITH request AS (
    SELECT
        *,
        -- Nothing else tells a prompt that was found whole from a request that generates since before the recording.
        reused_tokens IS NOT NULL AND (arrived_ns IS NOT NULL OR prompt_tokens - reused_tokens > 1) AS is_begun_here
    FROM attribute.served_request_times
    WHERE NOT is_warmup
),
good AS (
    SELECT
        count(*) FILTER (
            WHERE (NOT r.is_generating OR r.first_token_ns - r.arrived_ns <= coalesce(l.ttft_ns, 'inf'))
                AND r.last_token_ns - r.arrived_ns <= coalesce(l.e2el_ns, 'inf')
                AND (r.new_tokens < 2 OR (r.last_token_ns - r.first_token_ns) / (r.new_tokens - 1) <= coalesce(l.tpot_ns, 'inf'))
        ) AS good_requests,
        max(r.last_token_ns) - min(r.arrived_ns) AS span_ns
    FROM request AS r CROSS JOIN input.goodput_limits AS l
    WHERE r.first_token_ns IS NOT NULL AND r.arrived_ns IS NOT NULL
    HAVING count(*) > 0
),
latency AS (
    SELECT
        quantile_cont(ns, 0.5)::BIGINT AS latency_p50_ns,
        CASE WHEN count(ns) >= 10 THEN quantile_cont(ns, 0.9)::BIGINT END AS latency_p90_ns,
        CASE WHEN count(ns) >= 100 THEN quantile_cont(ns, 0.99)::BIGINT END AS latency_p99_ns
    FROM (SELECT last_token_ns - arrived_ns AS ns FROM request WHERE first_token_ns IS NOT NULL)
),
total AS (
    SELECT
        count(*) AS requests, count(*) FILTER (WHERE is_left_cold) AS cold_requests, count(given_up_ns) AS given_up_requests,
        -- What waited before a window has no part in its rates.
        max(last_token_ns) - CASE WHEN bool_or(is_cut) THEN min(started_ns) ELSE min(coalesce(arrived_ns, started_ns)) END AS span_ns,
        sum(new_tokens)::BIGINT AS new_tokens,
        sum(prompt_tokens) FILTER (WHERE is_begun_here)::BIGINT AS prompt_tokens,
        sum(reused_tokens) FILTER (WHERE is_begun_here)::BIGINT AS reused_tokens,
        sum(computed_tokens) FILTER (WHERE is_begun_here)::BIGINT AS computed_tokens,
        sum(prefill_steps) FILTER (WHERE is_begun_here)::BIGINT AS prefill_steps,
        sum(preemptions)::BIGINT AS preemptions, sum(draft_tokens)::BIGINT AS draft_tokens,
        sum(judged_tokens)::BIGINT AS judged_tokens, sum(accepted_tokens)::BIGINT AS accepted_tokens
    FROM request
    HAVING count(*) > 0
)
SELECT
    t.requests, t.cold_requests, t.given_up_requests, t.span_ns, t.requests / nullif(t.span_ns, 0) * 1e9 AS requests_per_s,
    t.new_tokens, t.new_tokens / nullif(t.span_ns, 0) * 1e9 AS new_tokens_per_s,
    d.latency_p50_ns, d.latency_p90_ns, d.latency_p99_ns, t.prompt_tokens, t.reused_tokens, t.reused_tokens / nullif(t.prompt_tokens, 0) AS reused_ratio,
    t.computed_tokens, t.computed_tokens / nullif(t.span_ns, 0) * 1e9 AS prompt_tokens_per_s,
    t.prefill_steps, t.preemptions, t.draft_tokens, t.judged_tokens, t.accepted_tokens,
    g.good_requests, g.good_requests / nullif(g.span_ns, 0) * 1e9 AS goodput_per_s
FROM total AS t CROSS JOIN latency AS d LEFT JOIN good AS g ON true
