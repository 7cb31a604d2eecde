-- Steps of each request in one of the processes that mark them: the ranks of a job mark the same steps, and the last
-- stage of a pipeline ends them.
-- Grain: occurrence_id, request.
-- materialize: table
-- empty without: attribute.step_sequences
-- requires: attribute.step_sequences, attribute.occurrences, attribute.work_by_occurrence
-- columns:
--   request       VARCHAR  Name.
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   process_key   BIGINT   Joins load.processes.
--   is_warmup     BOOLEAN  Whether the step is warm-up.
--   is_left_cold  BOOLEAN  Whether the step is cold, and left out.
--   is_closed     BOOLEAN  Whether its end was recorded.
--   start_ns      BIGINT   Start of the step. Unit: ns.
--   done_ns       BIGINT   Its end, on the GPU where that is later. Unit: ns.
--   new_tokens    BIGINT   Tokens that are computed. Unit: tokens.
--   cached_tokens BIGINT   Tokens that are in the KV cache. Unit: tokens.
--   draft_tokens  BIGINT   Of the new ones, guesses. Unit: tokens.
WITH ended AS (
    SELECT occurrence_id, max(last_end_ns) AS gpu_end_ns FROM attribute.work_by_occurrence GROUP BY occurrence_id
),
step AS (
    SELECT
        s.request, s.occurrence_id, s.process_key, p.is_warmup, p.is_left_cold, p.is_closed, p.start_ns,
        greatest(p.end_ns, coalesce(e.gpu_end_ns, p.end_ns)) AS done_ns, s.new_tokens, s.cached_tokens, s.draft_tokens
    FROM attribute.step_sequences AS s
    JOIN attribute.occurrences AS p USING (occurrence_id)
    LEFT JOIN ended AS e USING (occurrence_id)
),
chosen AS (
    SELECT request, arg_max(process_key, (done_ns, -process_key)) AS process_key FROM step GROUP BY request
)
SELECT
    step.request, step.occurrence_id, step.process_key, step.is_warmup, step.is_left_cold, step.is_closed, step.start_ns, step.done_ns,
    step.new_tokens, step.cached_tokens, step.draft_tokens
FROM step SEMI JOIN chosen ON chosen.request = step.request AND chosen.process_key = step.process_key
