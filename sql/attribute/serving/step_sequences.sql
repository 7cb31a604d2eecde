-- What each step of an engine computed of each request.
-- An engine that schedules ahead of what it has read back counts guesses as cached before it knows whether they were right:
-- the next step of the request says how many were. Without one, all of them count as wrong.
-- Numbers of marks that contradict each other, as lists of different lengths do, are left out.
-- Grain: occurrence_id, request; in a process of its own for each rank that marks the step.
-- materialize: table
-- empty without: attribute._step_marks
-- requires: attribute._step_marks, attribute._request_names, attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   process_key   BIGINT   Joins load.processes.
--   request       VARCHAR  Name of the request, or process and number where the mark that names it was not recorded.
--   new_tokens    BIGINT   Tokens that are computed. Unit: tokens.
--   cached_tokens BIGINT   Tokens that are in the KV cache. Unit: tokens.
--   is_cached_known BOOLEAN Whether that is known: else guesses of the step before it may have been right.
--   draft_tokens  BIGINT   Of the new ones, guesses that are checked. Unit: tokens.
--   has_logits    BOOLEAN  Whether the step computes logits; steps of models that embed, classify or score do not.
--   is_ahead      BOOLEAN  Whether the mark was made before it was known which guesses of the last step were right.
--   named_ns      BIGINT   When the request was first named, NULL if it was not. Unit: ns.
WITH mark AS (
    SELECT
        occurrence_id, process_key,
        TRY_CAST(json_extract(step, '$.ids') AS VARCHAR[]) AS ids,
        TRY_CAST(json_extract(step, '$.q') AS BIGINT[]) AS q_list, TRY_CAST(json_extract(step, '$.q') AS BIGINT) AS q,
        TRY_CAST(json_extract(step, '$.kv') AS BIGINT[]) AS kv_list, TRY_CAST(json_extract(step, '$.kv') AS BIGINT) AS kv,
        TRY_CAST(json_extract(step, '$.drafts') AS BIGINT[]) AS drafts,
        coalesce(TRY_CAST(json_extract(step, '$.logits') AS BIGINT), 1) > 0 AS has_logits,
        coalesce(TRY_CAST(json_extract(step, '$.ahead') AS BOOLEAN), false) AS is_ahead
    FROM attribute._step_marks
),
sequence AS (
    SELECT
        occurrence_id, process_key, has_logits, is_ahead, unnest(ids) AS request_number,
        unnest(coalesce(q_list, list_transform(ids, lambda x: q))) AS new_tokens,
        unnest(coalesce(kv_list, list_transform(ids, lambda x: kv))) AS cached_tokens,
        unnest(coalesce(drafts, list_transform(ids, lambda x: 0))) AS draft_tokens
    FROM mark
    WHERE len(ids) = coalesce(len(q_list), len(ids)) AND len(ids) = coalesce(len(kv_list), len(ids))
        AND len(ids) = coalesce(len(drafts), len(ids))
),
placed AS (
    SELECT
        s.*, lag(s.draft_tokens) OVER request AS last_drafts,
        lead(s.cached_tokens) OVER request - s.new_tokens AS shown_tokens
    FROM sequence AS s JOIN attribute.phase_ranges AS p USING (occurrence_id)
    WHERE s.new_tokens IS NOT NULL AND s.cached_tokens IS NOT NULL AND s.draft_tokens IS NOT NULL
    WINDOW request AS (PARTITION BY s.process_key, s.request_number ORDER BY p.start_ns, s.occurrence_id)
)
SELECT
    s.occurrence_id, s.process_key, coalesce(n.request, (s.process_key & 16777215) || '/' || s.request_number) AS request,
    s.new_tokens,
    CASE
        WHEN s.is_ahead AND s.shown_tokens BETWEEN s.cached_tokens - s.last_drafts AND s.cached_tokens THEN s.shown_tokens
        WHEN s.is_ahead AND s.last_drafts > 0 THEN greatest(0, s.cached_tokens - s.last_drafts)
        ELSE s.cached_tokens
    END AS cached_tokens,
    NOT s.is_ahead OR coalesce(s.last_drafts, 0) = 0
        OR coalesce(s.shown_tokens BETWEEN s.cached_tokens - s.last_drafts AND s.cached_tokens, false) AS is_cached_known,
    s.draft_tokens, s.has_logits, s.is_ahead, n.named_ns
FROM placed AS s LEFT JOIN attribute._request_names AS n USING (process_key, request_number)
