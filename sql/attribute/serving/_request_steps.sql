-- Steps of each request in one of the processes that mark them: the ranks of an engine mark the same steps, and the last
-- stage of a pipeline ends them. Of a request whose cache another engine goes on with, the steps in both: the request is that engine's.
-- A cache may be sent in whole blocks: the other engine computes the rest of the prompt. Only of an engine that does nothing but
-- compute prompts is that known; others may have requests of the same name, and a prefix of theirs in the cache.
-- vLLM puts eight random digits behind the name that its client gives: a name without them that is the only one of its engine is the same.
-- Grain: occurrence_id, request.
-- materialize: table
-- empty without: attribute.step_sequences
-- requires: attribute.step_sequences, attribute._engines, attribute.occurrences, attribute.work_by_occurrence
-- columns:
--   request       VARCHAR  Name.
--   engine        BIGINT   The engine that serves it. Joins attribute._engines.
--   own_name      VARCHAR  What the engine that ran the step calls the request.
--   own_engine    BIGINT   That engine. Joins attribute._engines.
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   process_key   BIGINT   Joins load.processes.
--   is_warmup     BOOLEAN  Whether the step is warm-up.
--   is_left_cold  BOOLEAN  Whether the step is cold, and left out.
--   is_closed     BOOLEAN  Whether its end was recorded.
--   start_ns      BIGINT   Start of the step in the first rank to begin it, as a pipeline's first stage. Unit: ns.
--   done_ns       BIGINT   Its end in the last rank to be done with it, on the GPU where that is later. Unit: ns.
--   new_tokens    BIGINT   Tokens that are computed. Unit: tokens.
--   cached_tokens BIGINT   Tokens that are in the KV cache. Unit: tokens.
--   is_cached_known BOOLEAN Whether that is known: else guesses of the step before it may have been right.
--   draft_tokens  BIGINT   Of the new ones, guesses. Unit: tokens.
--   has_logits    BOOLEAN  Whether the step computes logits.
--   is_handed     BOOLEAN  Whether another engine ran it, which computed the prompt for this one.
--   named_ns      BIGINT   When its process first named the request, NULL if it did not. Unit: ns.
WITH ended AS (
    SELECT occurrence_id, max(last_end_ns) AS gpu_end_ns FROM attribute.work_by_occurrence GROUP BY occurrence_id
),
step AS (
    SELECT
        s.request, e.engine, s.occurrence_id, s.process_key, p.phase, p.is_warmup, p.is_left_cold, p.is_closed, p.start_ns,
        greatest(p.end_ns, coalesce(w.gpu_end_ns, p.end_ns)) AS done_ns, s.new_tokens, s.cached_tokens, s.is_cached_known, s.draft_tokens,
        s.has_logits, s.named_ns
    FROM attribute.step_sequences AS s
    JOIN attribute._engines AS e USING (process_key)
    JOIN attribute.occurrences AS p USING (occurrence_id)
    LEFT JOIN ended AS w USING (occurrence_id)
),
chosen AS (
    SELECT engine, request, arg_max(process_key, (done_ns, -process_key)) AS process_key FROM step GROUP BY engine, request
),
-- A step is known again in another rank by its tokens; the same ones come twice after a preemption.
numbered AS (
    SELECT
        *, row_number() OVER (
            PARTITION BY engine, request, process_key, cached_tokens, new_tokens ORDER BY start_ns, occurrence_id
        ) AS nth
    FROM step
),
together AS (
    SELECT
        * EXCLUDE (start_ns, done_ns),
        min(start_ns) OVER (PARTITION BY engine, request, cached_tokens, new_tokens, nth) AS start_ns,
        coalesce(
            max(CASE WHEN is_closed THEN done_ns END) OVER (PARTITION BY engine, request, cached_tokens, new_tokens, nth), done_ns
        ) AS done_ns
    FROM numbered
),
own AS (SELECT together.* FROM together SEMI JOIN chosen USING (engine, request, process_key)),
share AS (
    SELECT
        engine, request, min(start_ns) AS start_ns, max(cached_tokens + new_tokens) AS reached_tokens,
        arg_min(cached_tokens, (start_ns, occurrence_id)) AS found_tokens,
        regexp_replace(request, '-[0-9a-f]{8}$', '') AS stem,
        CASE WHEN stem <> request AND count(*) OVER (PARTITION BY engine, stem) = 1 THEN stem END AS given_name
    FROM own
    GROUP BY engine, request
),
named AS (
    SELECT before, after FROM share AS before JOIN share AS after ON after.request = before.request
    UNION ALL
    SELECT before, after
    FROM share AS before JOIN share AS after ON after.given_name = before.given_name AND after.request <> before.request
),
prefilling AS (SELECT engine FROM step GROUP BY engine HAVING bool_and(phase = 'prefill') AND bool_or(has_logits)),
-- Prompts that one engine computes for another.
handed AS (
    SELECT
        before.engine AS engine, before.request AS request, arg_max(after.engine, after.start_ns) AS to_engine,
        arg_max(after.request, after.start_ns) AS to_request
    FROM named
    WHERE after.engine <> before.engine AND after.start_ns >= before.start_ns AND after.found_tokens > 0
        AND after.found_tokens <= before.reached_tokens AND after.reached_tokens >= before.reached_tokens
        AND (
            after.found_tokens >= before.reached_tokens - 1
            OR (before.engine IN (FROM prefilling) AND after.engine NOT IN (FROM prefilling))
        )
    GROUP BY ALL
)
SELECT
    coalesce(h.to_request, o.request) AS request, coalesce(h.to_engine, o.engine) AS engine, o.request AS own_name, o.engine AS own_engine, o.occurrence_id, o.process_key, o.is_warmup, o.is_left_cold, o.is_closed,
    o.start_ns, o.done_ns, o.new_tokens, o.cached_tokens, o.is_cached_known, o.draft_tokens, o.has_logits, h.to_engine IS NOT NULL AS is_handed,
    o.named_ns
FROM own AS o LEFT JOIN handed AS h USING (engine, request)
