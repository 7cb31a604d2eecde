-- One row per request that an engine served: when it came, waited, had its first and its last token.
-- A request of a model that embeds, classifies or scores has a result where others have a first token.
-- A step that is not done when the client gives the request up makes a token that nobody gets.
-- The first token is there when the step that computes the end of the prompt is done, on the GPU where that is later; where one engine
-- computes the prompt and another goes on, the step there, since clients get their tokens from that one. If it goes on behind the
-- whole prompt, the first token came with the cache, and is there when its first step begins.
-- Of a request that a window cuts, or that began before the recording, the first recorded step stands for that of the first token, and
-- its arrival does not count.
-- Grain: request, engine.
-- materialize: table
-- empty without: attribute._request_steps
-- requires: attribute._request_steps, attribute._arrivals, attribute._engines
-- columns:
--   request        VARCHAR  Name.
--   engine         BIGINT   The engine that served it. Joins attribute._engines.
--   is_shared_name BOOLEAN  Whether another engine served a request of this name.
--   process_key    BIGINT   Process whose steps these are. Joins load.processes.
--   is_generating  BOOLEAN  Whether a step of it computed logits: else it generates no token.
--   is_warmup      BOOLEAN  Whether it began in warm-up.
--   is_left_cold   BOOLEAN  Whether one of its steps is cold, and left out.
--   arrived_ns     BIGINT   When the server took it in; NULL where that was not recorded or a window cuts the request, or another engine's of the
--                           same name cannot be told apart. Unit: ns.
--   given_up_ns    BIGINT   When its client gave it up; NULL if it did not. Unit: ns.
--   is_cut         BOOLEAN  Whether a window has left out its first steps.
--   started_ns     BIGINT   Start of its first recorded step. Unit: ns.
--   first_token_ns BIGINT   When its first token was there; NULL where it was before the recording or is not in it, or if nobody got it. Unit: ns.
--   last_token_ns  BIGINT   End of its last recorded step that somebody waits for; those that only compute again what a preemption threw away
--                           are none. Unit: ns.
--   prompt_tokens  BIGINT   Length of its prompt; of a request that had begun before, what it had when its first recorded step was done. Unit: tokens.
--   known_prompt_tokens BIGINT Length of its prompt, NULL where nothing tells it. Unit: tokens.
--   reused_tokens  BIGINT   Tokens that were in the cache when it began. Unit: tokens.
--   computed_tokens BIGINT  Tokens of its prompt that were computed for the first time; fewer than the rest if the recording ends before. Unit: tokens.
--   prefill_steps  BIGINT   Steps that computed tokens of its prompt, recomputation after a preemption included.
--   steps          BIGINT   All its steps.
--   preemptions    BIGINT   How often its cache was thrown away.
--   new_tokens     BIGINT   Tokens that it has generated; of guesses, those that its next step shows to be right. Unit: tokens.
--   draft_tokens   BIGINT   Guesses that were checked for it. Unit: tokens.
--   judged_tokens  BIGINT   Of those, guesses of which a later step shows how many were right. Unit: tokens.
--   accepted_tokens BIGINT  Of those, the ones that were right. Unit: tokens.
WITH named AS (
    SELECT request, engine, count(*) OVER (PARTITION BY request) > 1 AS is_shared_name
    FROM (SELECT DISTINCT request, engine FROM attribute._request_steps)
),
arrival AS (
    SELECT
        n.request, n.engine, any_value(n.is_shared_name) AS is_shared_name, min(a.arrived_ns) AS arrived_ns,
        arg_min(a.prompt_tokens, a.arrived_ns) AS prompt_tokens, min(a.given_up_ns) FILTER (WHERE k.own_name = n.request) AS given_up_ns
    FROM named AS n
    JOIN (SELECT DISTINCT request, engine, own_name FROM attribute._request_steps) AS k USING (request, engine)
    LEFT JOIN (
        SELECT a.*, e.engine AS own_engine FROM attribute._arrivals AS a LEFT JOIN attribute._engines AS e USING (process_key)
    ) AS a ON a.request = k.own_name AND (a.own_engine = n.engine OR NOT n.is_shared_name OR k.own_name <> n.request)
    GROUP BY n.request, n.engine
),
begun AS (
    SELECT
        request, engine, min(named_ns) < min(start_ns) AS is_cut, min(start_ns) FILTER (WHERE NOT is_handed) AS start_ns,
        arg_min(cached_tokens, (start_ns, occurrence_id)) FILTER (WHERE NOT is_handed) AS cached_tokens
    FROM attribute._request_steps
    GROUP BY request, engine
),
known AS (
    SELECT
        a.* REPLACE (
            CASE WHEN NOT coalesce(b.is_cut, false) THEN a.arrived_ns END AS arrived_ns,
            CASE WHEN NOT coalesce(b.is_cut, false) THEN a.prompt_tokens END AS prompt_tokens
        ),
        a.prompt_tokens AS said_tokens, coalesce(b.is_cut, false) AS is_cut,
        CASE WHEN NOT coalesce(b.is_cut, false) AND a.arrived_ns IS NOT NULL AND b.cached_tokens = a.prompt_tokens THEN b.start_ns END AS brought_ns
    FROM arrival AS a JOIN begun AS b USING (request, engine)
),
placed AS (
    SELECT
        s.*, a.is_shared_name, a.arrived_ns, a.given_up_ns, a.is_cut, a.brought_ns, a.prompt_tokens AS told_tokens, a.said_tokens,
        a.given_up_ns IS NULL OR s.done_ns <= a.given_up_ns AS is_wanted,
        lead(cached_tokens) OVER request AS next_cached_tokens, lead(is_cached_known) OVER request AS is_judged,
        CASE WHEN NOT lag(is_handed) OVER request OR is_handed THEN lag(cached_tokens + new_tokens - draft_tokens) OVER request END AS kept_tokens,
        max(CASE WHEN NOT is_handed THEN cached_tokens + new_tokens - draft_tokens END)
            OVER (request ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_reached_tokens
    FROM attribute._request_steps AS s JOIN known AS a USING (request, engine)
    WINDOW request AS (PARTITION BY s.engine, s.request ORDER BY s.start_ns, s.occurrence_id)
),
request AS (
    SELECT
        request, engine, any_value(is_shared_name) AS is_shared_name, any_value(process_key) FILTER (NOT is_handed) AS process_key, arg_min(is_warmup, (start_ns, occurrence_id)) AS is_warmup, bool_or(is_left_cold) AS is_left_cold, bool_or(has_logits) AS is_generating,
        any_value(arrived_ns) AS arrived_ns, any_value(given_up_ns) AS given_up_ns, any_value(is_cut) AS is_cut, any_value(brought_ns) AS brought_ns, min(start_ns) AS started_ns,
        -- A step that computes again what a preemption has thrown away makes no token until it has all of that.
        max(done_ns) FILTER (
            WHERE is_closed AND is_wanted AND coalesce(cached_tokens + new_tokens - draft_tokens > last_reached_tokens, true)
        ) AS last_token_ns,
        -- Without an arrival, the prompt ends with the last step that computes more than one token and guesses.
        coalesce(
            any_value(told_tokens), max(cached_tokens + new_tokens) FILTER (WHERE new_tokens - draft_tokens > 1),
            min(cached_tokens + new_tokens)
        ) AS prompt_tokens,
        coalesce(any_value(said_tokens), max(cached_tokens + new_tokens) FILTER (WHERE new_tokens - draft_tokens > 1)) AS known_prompt_tokens,
        arg_min(cached_tokens, (start_ns, occurrence_id)) AS reused_tokens, count(*) AS steps,
        count(*) FILTER (WHERE cached_tokens < kept_tokens) AS preemptions,
        max(cached_tokens + new_tokens) AS run_tokens,
        max(cached_tokens + new_tokens - draft_tokens) FILTER (WHERE is_wanted) AS reached_tokens, sum(draft_tokens)::BIGINT AS draft_tokens,
        sum(draft_tokens) FILTER (WHERE is_judged AND next_cached_tokens > cached_tokens)::BIGINT AS judged_tokens,
        sum(greatest(0, next_cached_tokens - cached_tokens - (new_tokens - draft_tokens)))
            FILTER (WHERE draft_tokens > 0 AND is_judged AND next_cached_tokens > cached_tokens)::BIGINT AS accepted_tokens
    FROM placed
    GROUP BY request, engine
),
prompt AS (
    SELECT
        s.request, s.engine, count(*) AS prefill_steps,
        min(s.done_ns) FILTER (
            WHERE s.cached_tokens + s.new_tokens >= r.prompt_tokens AND s.is_closed AND s.is_wanted AND NOT s.is_handed
        ) AS first_token_ns
    FROM placed AS s JOIN request AS r USING (request, engine)
    WHERE s.cached_tokens < r.prompt_tokens
    GROUP BY s.request, s.engine
)
SELECT
    r.request, r.engine, r.is_shared_name, r.process_key, r.is_generating, r.is_warmup, r.is_left_cold, r.arrived_ns, r.given_up_ns, r.is_cut, r.started_ns, coalesce(p.first_token_ns, r.brought_ns) AS first_token_ns, r.last_token_ns, r.prompt_tokens, r.known_prompt_tokens,
    CASE WHEN r.reused_tokens < r.prompt_tokens OR r.brought_ns IS NOT NULL THEN r.reused_tokens END AS reused_tokens,
    greatest(0, least(r.prompt_tokens, r.run_tokens) - r.reused_tokens) AS computed_tokens,
    coalesce(p.prefill_steps, 0) AS prefill_steps, r.steps, r.preemptions,
    CASE WHEN r.is_generating THEN greatest(0, coalesce(r.reached_tokens, 0) - r.prompt_tokens + 1) ELSE 0 END AS new_tokens, r.draft_tokens,
    coalesce(r.judged_tokens, 0) AS judged_tokens, coalesce(r.accepted_tokens, 0) AS accepted_tokens
FROM request AS r LEFT JOIN prompt AS p USING (request, engine)
