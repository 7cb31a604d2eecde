-- What does the engine compute over time, and what waits?
-- Slices of equal length from the first step to the end of the last, each with the steps that start in it. Engines are marked by
-- `llmperf capture --auto` or `--profile`; without marks, what their own texts leave out is NULL. Ranks that share steps have the same rows.
-- params:
--   slices=12  How many slices, one at least.
-- columns:
--   process_id       BIGINT  Operating-system pid of the worker.
--   start_ns         BIGINT  Start of the slice. Unit: ns.
--   steps            BIGINT  Steps that start in it.
--   requests         DOUBLE  Requests in the batch, on average over the steps.
--   prefill_tokens   BIGINT  Tokens of prompts that the steps compute. Unit: tokens.
--   decode_tokens    BIGINT  Other tokens, guesses included. Unit: tokens.
--   cached_tokens    BIGINT  Tokens in the KV cache over the batch, the most of a step. Unit: tokens.
--   waiting_requests BIGINT  Requests that have come and not begun, the most at a step's start.
--   waiting_tokens   BIGINT  Tokens of prompts that have come and are not computed, the most at a step's start. Unit: tokens.
--   tokens_per_s     DOUBLE  Tokens that the steps compute, per second of the slice. Unit: tokens/s.
--   stepping_ratio   DOUBLE  Share of the slice in which a step runs.
WITH step AS (
    SELECT *, min(start_ns) OVER () AS first_ns, (max(done_ns) OVER () - min(start_ns) OVER ()) // greatest(1, $slices) + 1 AS width_ns
    FROM served_steps
    WHERE NOT is_warmup
),
-- Steps overlap where the next one begins while the GPU computes the last: each runs on from where all before it have ended.
fresh AS (
    SELECT
        process_id, greatest(start_ns, coalesce(max(done_ns) OVER earlier, start_ns)) AS start_ns, done_ns, first_ns, width_ns
    FROM step
    WINDOW earlier AS (
        PARTITION BY process_id ORDER BY start_ns, done_ns, occurrence_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
piece AS (
    SELECT
        process_id, unnest(range((start_ns - first_ns) // width_ns, (done_ns - first_ns) // width_ns + 1)) AS slice, start_ns, done_ns,
        first_ns, width_ns
    FROM fresh
    WHERE done_ns > start_ns
),
running AS (
    SELECT
        process_id, slice,
        sum(least(done_ns, first_ns + (slice + 1) * width_ns) - greatest(start_ns, first_ns + slice * width_ns)) AS running_ns
    FROM piece
    GROUP BY process_id, slice
),
slice AS (
    -- Texts of engines may leave tokens out: one unknown makes the sum unknown.
    SELECT
        process_id, (start_ns - first_ns) // width_ns AS slice, count(*) AS steps, avg(requests) AS requests,
        CASE WHEN count(prefill_tokens) = count(*) THEN sum(prefill_tokens)::BIGINT END AS prefill_tokens,
        CASE WHEN count(decode_tokens) = count(*) THEN sum(decode_tokens)::BIGINT END AS decode_tokens,
        max(cached_tokens)::BIGINT AS cached_tokens, max(waiting_requests) AS waiting_requests, max(waiting_tokens)::BIGINT AS waiting_tokens
    FROM step
    GROUP BY process_id, slice
),
whole AS (
    SELECT process_id, unnest(range(greatest(1, $slices))) AS slice, first_ns, width_ns FROM step GROUP BY process_id, first_ns, width_ns
)
SELECT
    w.process_id, w.first_ns + w.slice * w.width_ns AS start_ns, coalesce(s.steps, 0) AS steps, s.requests,
    CASE WHEN s.steps IS NULL THEN 0 ELSE s.prefill_tokens END AS prefill_tokens,
    CASE WHEN s.steps IS NULL THEN 0 ELSE s.decode_tokens END AS decode_tokens, s.cached_tokens, s.waiting_requests,
    s.waiting_tokens,
    CASE WHEN s.steps IS NULL THEN 0 ELSE s.prefill_tokens + s.decode_tokens END * 1e9 / w.width_ns AS tokens_per_s,
    coalesce(r.running_ns, 0) / w.width_ns AS stepping_ratio
FROM whole AS w
LEFT JOIN slice AS s ON s.process_id = w.process_id AND s.slice = w.slice
LEFT JOIN running AS r ON r.process_id = w.process_id AND r.slice = w.slice
ORDER BY w.process_id, w.slice
