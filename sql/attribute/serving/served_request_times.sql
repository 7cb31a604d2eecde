-- One row per request that an engine served: when it came, waited, had its first and its last token.
-- The first token is there when the step that computes the end of the prompt is done, on the GPU where that is later.
-- Grain: request.
-- materialize: table
-- empty without: attribute._request_steps
-- requires: attribute._request_steps, attribute._arrivals
-- columns:
--   request        VARCHAR  Name.
--   process_key    BIGINT   Process whose steps these are. Joins load.processes.
--   is_warmup      BOOLEAN  Whether it began in warm-up.
--   is_left_cold   BOOLEAN  Whether one of its steps is cold, and left out.
--   arrived_ns     BIGINT   When the server took it in; NULL where that was not recorded. Unit: ns.
--   started_ns     BIGINT   Start of its first recorded step. Unit: ns.
--   first_token_ns BIGINT   When its first token was there; NULL where it was before the recording or is not in it. Unit: ns.
--   last_token_ns  BIGINT   End of its last recorded step. Unit: ns.
--   prompt_tokens  BIGINT   Length of its prompt. Unit: tokens.
--   reused_tokens  BIGINT   Tokens that were in the cache when it began. Unit: tokens.
--   prefill_steps  BIGINT   Steps that computed tokens of its prompt, recomputation after a preemption included.
--   steps          BIGINT   All its steps.
--   preemptions    BIGINT   How often its cache was thrown away.
--   new_tokens     BIGINT   Tokens that it has generated; of guesses, those that its next step shows to be right. Unit: tokens.
--   draft_tokens   BIGINT   Guesses that were checked for it. Unit: tokens.
--   accepted_tokens BIGINT  Of those, the ones that were right, as far as later steps show it. Unit: tokens.
WITH placed AS (
    SELECT
        s.*, a.arrived_ns, a.prompt_tokens AS told_tokens,
        lead(cached_tokens) OVER request AS next_cached_tokens,
        lag(cached_tokens) OVER request AS last_cached_tokens
    FROM attribute._request_steps AS s LEFT JOIN attribute._arrivals AS a USING (request)
    WINDOW request AS (PARTITION BY s.request ORDER BY s.start_ns, s.occurrence_id)
),
request AS (
    SELECT
        request, any_value(process_key) AS process_key, arg_min(is_warmup, (start_ns, occurrence_id)) AS is_warmup, bool_or(is_left_cold) AS is_left_cold,
        any_value(arrived_ns) AS arrived_ns, min(start_ns) AS started_ns, max(done_ns) FILTER (WHERE is_closed) AS last_token_ns,
        -- Without an arrival, the prompt ends with the last step that computes more than one token and guesses.
        coalesce(
            any_value(told_tokens), max(cached_tokens + new_tokens) FILTER (WHERE new_tokens - draft_tokens > 1),
            min(cached_tokens + new_tokens)
        ) AS prompt_tokens,
        arg_min(cached_tokens, (start_ns, occurrence_id)) AS reused_tokens, count(*) AS steps,
        count(*) FILTER (WHERE cached_tokens < last_cached_tokens) AS preemptions,
        max(cached_tokens + new_tokens - draft_tokens) AS reached_tokens, sum(draft_tokens)::BIGINT AS draft_tokens,
        sum(greatest(0, next_cached_tokens - cached_tokens - (new_tokens - draft_tokens)))
            FILTER (WHERE draft_tokens > 0 AND next_cached_tokens > cached_tokens)::BIGINT AS accepted_tokens
    FROM placed
    GROUP BY request
),
prompt AS (
    SELECT
        s.request, count(*) AS prefill_steps,
        min(s.done_ns) FILTER (WHERE s.cached_tokens + s.new_tokens >= r.prompt_tokens AND s.is_closed) AS first_token_ns
    FROM attribute._request_steps AS s JOIN request AS r USING (request)
    WHERE s.cached_tokens < r.prompt_tokens
    GROUP BY s.request
)
SELECT
    r.request, r.process_key, r.is_warmup, r.is_left_cold, r.arrived_ns, r.started_ns, p.first_token_ns, r.last_token_ns, r.prompt_tokens,
    CASE WHEN r.reused_tokens < r.prompt_tokens THEN r.reused_tokens END AS reused_tokens,
    coalesce(p.prefill_steps, 0) AS prefill_steps, r.steps, r.preemptions,
    greatest(0, r.reached_tokens - r.prompt_tokens + 1) AS new_tokens, r.draft_tokens, coalesce(r.accepted_tokens, 0) AS accepted_tokens
FROM request AS r LEFT JOIN prompt AS p USING (request)
