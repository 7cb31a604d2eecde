-- Steps of an engine over time: who is in the batch, what it computes, and how much of prompts waits.
-- A step without a mark has what the text of the engine's own range says, and NULL for the rest.
-- Grain: occurrence_id; every rank marks its own.
-- requires: attribute.step_sequences, attribute.phase_ranges, attribute.served_request_times, attribute.work_by_occurrence,
--   attribute._request_steps, attribute._request_names, attribute._arrivals, attribute._engines, attribute.phase_texts, input.range_roles
-- columns:
--   occurrence_id   BIGINT   Joins phases.
--   phase           VARCHAR  prefill, decode, mixed or verify.
--   process_id      BIGINT   Operating-system pid of the worker.
--   is_warmup       BOOLEAN  Whether it is warm-up.
--   start_ns        BIGINT   Unit: ns.
--   done_ns         BIGINT   Its end, on the GPU where that is later. Unit: ns.
--   requests        BIGINT   Requests in the batch.
--   prefill_requests BIGINT  Of those, requests that compute tokens of their prompt; in texts, what the engine calls context.
--   prefill_tokens  BIGINT   Tokens of prompts that it computes. Unit: tokens.
--   decode_tokens   BIGINT   Other tokens, guesses included. Unit: tokens.
--   draft_tokens    BIGINT   Guesses that it checks. Unit: tokens.
--   cached_tokens   BIGINT   Tokens in the KV cache, over the batch. Unit: tokens.
--   waiting_requests BIGINT  Requests that have come and not begun when it starts, in whichever engine.
--   waiting_tokens  BIGINT   Tokens of prompts that have come and are not computed when it starts, its own included, in whichever engine;
--                            from the step on that computes a prompt again after a preemption, those that are thrown away. Unit: tokens.
--   tokens_per_s    DOUBLE   Tokens that it computes per second, from its start, or the end of the steps before it if that is later, to its
--                            end; NULL if a step before it ends later. Unit: tokens/s.
WITH step AS (
    SELECT
        s.occurrence_id, count(*) AS requests, sum(s.new_tokens)::BIGINT AS new_tokens,
        count(*) FILTER (WHERE s.cached_tokens < r.prompt_tokens) AS prefill_requests,
        coalesce(sum(s.new_tokens) FILTER (WHERE s.cached_tokens < r.prompt_tokens), 0)::BIGINT AS prefill_tokens,
        sum(s.new_tokens)::BIGINT - prefill_tokens AS decode_tokens, sum(s.draft_tokens)::BIGINT AS draft_tokens,
        sum(s.cached_tokens)::BIGINT AS cached_tokens
    FROM attribute.step_sequences AS s
    JOIN attribute._engines AS e USING (process_key)
    JOIN (SELECT DISTINCT own_name, own_engine, request, engine FROM attribute._request_steps) AS m
        ON m.own_name = s.request AND m.own_engine = e.engine
    JOIN attribute.served_request_times AS r ON r.request = m.request AND r.engine = m.engine
    GROUP BY s.occurrence_id
),
told AS (
    SELECT
        t.occurrence_id, m.requests, m.new_tokens, m.prefill_requests, m.prefill_tokens, m.decode_tokens,
        NULL::BIGINT AS draft_tokens, m.cached_tokens, false AS is_marked
    FROM attribute.phase_texts AS t
    JOIN input.range_roles AS m USING (domain, name)
    ANTI JOIN step USING (occurrence_id)
    WHERE m.requests IS NOT NULL
    UNION ALL BY NAME
    SELECT *, true AS is_marked FROM step
),
ended AS (
    SELECT occurrence_id, max(last_end_ns) AS gpu_end_ns FROM attribute.work_by_occurrence GROUP BY occurrence_id
),
-- An engine that schedules ahead begins a step while the GPU computes the one before: that one's time is not in the rate.
timed AS (
    SELECT
        p.occurrence_id, p.phase, p.process_key, p.is_warmup, p.start_ns, greatest(p.end_ns, coalesce(e.gpu_end_ns, p.end_ns)) AS done_ns,
        greatest(p.start_ns, coalesce(max(done_ns) OVER earlier, p.start_ns)) AS turn_ns
    FROM attribute.phase_ranges AS p
    SEMI JOIN told USING (occurrence_id)
    LEFT JOIN ended AS e USING (occurrence_id)
    WINDOW earlier AS (
        PARTITION BY p.process_key ORDER BY p.start_ns, p.occurrence_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
-- What of its prompt is not computed before each step of a request, and behind it: a preemption throws away what was.
prompt AS (
    SELECT
        s.start_ns, r.prompt_tokens, r.given_up_ns, greatest(0, r.prompt_tokens - s.cached_tokens) AS before_tokens,
        greatest(0, r.prompt_tokens - s.cached_tokens - s.new_tokens) AS left_tokens, lag(left_tokens) OVER request AS last_tokens,
        lead(s.start_ns) OVER request IS NULL AS is_last
    FROM attribute._request_steps AS s JOIN attribute.served_request_times AS r USING (request, engine)
    WHERE r.arrived_ns IS NOT NULL
    WINDOW request AS (PARTITION BY s.engine, s.request ORDER BY s.start_ns, s.occurrence_id)
),
-- Requests without a step in all of the recording, as they are many behind an engine that does not keep up.
unserved AS (
    SELECT
        request, min(arrived_ns) AS arrived_ns, max(prompt_tokens) AS prompt_tokens,
        CASE WHEN count(given_up_ns) = count(*) THEN max(given_up_ns) END AS given_up_ns
    FROM attribute._arrivals ANTI JOIN attribute._request_names USING (request)
    GROUP BY request
),
-- Prompts that come, and what is taken off them: at the first step also what the cache has.
change AS (
    SELECT arrived_ns AS at_ns, 1 AS requests, prompt_tokens AS tokens
    FROM attribute.served_request_times WHERE arrived_ns IS NOT NULL
    UNION ALL
    SELECT started_ns + 1, -1, 0 FROM attribute.served_request_times WHERE arrived_ns IS NOT NULL
    UNION ALL
    SELECT start_ns, 0, before_tokens - last_tokens FROM prompt WHERE last_tokens IS NOT NULL
    UNION ALL
    SELECT start_ns + 1, 0, left_tokens - CASE WHEN last_tokens IS NULL THEN prompt_tokens ELSE before_tokens END FROM prompt
    UNION ALL
    SELECT greatest(given_up_ns, start_ns + 1), 0, -left_tokens FROM prompt WHERE is_last AND given_up_ns IS NOT NULL
    UNION ALL
    SELECT arrived_ns, 1, coalesce(prompt_tokens, 0) FROM unserved
    UNION ALL
    SELECT given_up_ns, -1, -coalesce(prompt_tokens, 0) FROM unserved WHERE given_up_ns IS NOT NULL
),
queue AS (
    SELECT at_ns, sum(sum(requests)) OVER sweep AS requests, sum(sum(tokens)) OVER sweep AS tokens
    FROM change
    GROUP BY at_ns
    WINDOW sweep AS (ORDER BY at_ns ROWS UNBOUNDED PRECEDING)
)
SELECT
    t.occurrence_id, t.phase, t.process_key & 16777215 AS process_id, t.is_warmup, t.start_ns, t.done_ns, s.requests, s.prefill_requests,
    s.prefill_tokens, s.decode_tokens, s.draft_tokens, s.cached_tokens,
    CASE WHEN s.is_marked THEN greatest(0, q.requests)::BIGINT END AS waiting_requests,
    CASE WHEN s.is_marked THEN greatest(0, q.tokens)::BIGINT END AS waiting_tokens,
    CASE WHEN t.done_ns > t.turn_ns THEN s.new_tokens / (t.done_ns - t.turn_ns) * 1e9 END AS tokens_per_s
FROM told AS s
JOIN timed AS t USING (occurrence_id)
ASOF LEFT JOIN queue AS q ON q.at_ns <= t.start_ns
