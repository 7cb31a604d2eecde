-- One row per request: time to the first token and time per output token.
-- TTFT runs from the start of the request range to the end of its prefill, on the host or, where the GPU's work of the
-- prefill ends later, on the GPU. TPOT is the time from there to the end of its last decode step, per decode step.
-- A program may sample in no phase, behind each pass: the token is there when that has ended, too.
-- Where prefills follow decode steps, as in a chat, the TTFT is that of the first prompt, and there is no TPOT.
-- Steps whose end was not recorded are left out of it.
-- Speculative decoding has no TPOT, with verify steps or with decode steps of several tokens a sequence: how many of the
-- tokens are kept is not in the trace. Nor has it one if a decode range runs several passes.
-- Of a request with a cold prefill the TTFT is not measured, and with a cold decode step not the TPOT.
-- No range marks the warm-up of inferred requests: where a thread has several and anything in the first one is cold, all of it is.
-- Grain: request_id.
-- materialize: table
-- empty without: attribute._request_spans
-- requires: attribute.occurrences, attribute.step_marks, attribute.work_by_occurrence, attribute._request_spans, attribute._inferred_requests, attribute.several_passes, attribute.gpu_work, attribute.kernel_families
-- columns:
--   request_id   BIGINT   Joins load.nvtx_ranges on range_id, or attribute._inferred_requests.
--   process_key  BIGINT   Joins load.processes.
--   is_warmup    BOOLEAN  Whether it is inside warm-up.
--   has_cold_prefill BOOLEAN Whether part of its prefill is cold, and left out; or it is such a first one.
--   has_cold_decode BOOLEAN  Whether a decode step is, or it is such a first one.
--   start_ns     BIGINT   Start of the request. Unit: ns.
--   decode_steps BIGINT   Decode steps.
--   ttft_ns      BIGINT   Time to first token, NULL without a prefill. Unit: ns.
--   tpot_ns      DOUBLE   Time per output token, NULL without decode steps, in speculative decoding, of several prompts
--                         and of several passes in a step. Unit: ns.
--   has_several_prompts BOOLEAN Whether a prefill follows a decode step.
WITH speculative AS (
    SELECT occurrence_id
    FROM (
        SELECT occurrence_id, json_extract(TRY_CAST(substr("text", 14) AS JSON), '$.q') AS q FROM attribute.step_marks
    )
    WHERE coalesce(TRY_CAST(q AS BIGINT), list_max(TRY_CAST(q AS BIGINT[]))) > 1
),
closed AS (
    SELECT p.*, s.end_ns AS request_end_ns
    FROM attribute.occurrences AS p JOIN attribute._request_spans AS s ON s.span_id = p.request_id
    WHERE p.is_closed AND p.phase IN ('prefill', 'decode', 'verify')
),
sampled AS (
    SELECT p.occurrence_id, max(w.end_ns) AS end_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
    ASOF JOIN closed AS p ON p.global_tid = w.global_tid AND p.end_ns <= w.launch_start_ns
    WHERE w.occurrence_id IS NULL AND w.kind = 'kernel' AND f.family = 'sampling' AND w.launch_start_ns < p.request_end_ns
    GROUP BY p.occurrence_id
),
finished AS (
    SELECT
        p.occurrence_id, p.request_id, p.process_key, p.phase, p.is_warmup, p.is_left_cold, p.start_ns,
        min(CASE WHEN p.phase <> 'prefill' THEN p.start_ns END) OVER (PARTITION BY p.request_id) AS first_step_ns,
        greatest(p.end_ns, max(w.last_end_ns), max(s.end_ns)) AS done_ns
    FROM closed AS p
    LEFT JOIN attribute.work_by_occurrence AS w USING (occurrence_id)
    LEFT JOIN sampled AS s USING (occurrence_id)
    GROUP BY p.occurrence_id, p.request_id, p.process_key, p.phase, p.is_warmup, p.is_left_cold, p.start_ns, p.end_ns
),
request AS (
    SELECT
        request_id, any_value(process_key) AS process_key, bool_or(is_warmup) AS is_warmup,
        coalesce(bool_or(is_left_cold) FILTER (WHERE phase = 'prefill'), false) AS has_cold_prefill,
        coalesce(bool_or(is_left_cold) FILTER (WHERE phase <> 'prefill'), false) AS has_cold_decode,
        max(done_ns) FILTER (WHERE phase = 'prefill' AND (first_step_ns IS NULL OR start_ns <= first_step_ns))
            AS first_token_ns,
        coalesce(bool_or(phase = 'prefill' AND start_ns > first_step_ns), false) AS has_several_prompts,
        max(done_ns) FILTER (WHERE phase = 'decode') AS last_token_ns,
        count(*) FILTER (WHERE phase = 'decode') AS decode_steps,
        bool_or(phase = 'verify' OR (phase = 'decode' AND occurrence_id IN (FROM speculative))) AS is_speculative
    FROM finished
    GROUP BY request_id
),
warming AS (
    SELECT request_id FROM attribute._inferred_requests WHERE is_first
)
SELECT
    q.request_id, q.process_key, q.is_warmup,
    q.has_cold_prefill OR (w.request_id IS NOT NULL AND q.has_cold_decode) AS has_cold_prefill,
    q.has_cold_decode OR (w.request_id IS NOT NULL AND q.has_cold_prefill) AS has_cold_decode, r.start_ns, q.decode_steps,
    q.first_token_ns - r.start_ns AS ttft_ns,
    CASE
        WHEN NOT q.is_speculative AND NOT q.has_several_prompts AND NOT EXISTS (FROM attribute.several_passes)
            THEN (q.last_token_ns - q.first_token_ns) / nullif(q.decode_steps, 0)
    END AS tpot_ns,
    q.has_several_prompts
FROM request AS q
JOIN attribute._request_spans AS r ON r.span_id = q.request_id
LEFT JOIN warming AS w ON w.request_id = q.request_id
