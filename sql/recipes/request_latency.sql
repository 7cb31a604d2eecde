-- What are time to first token and time per output token of each request?
-- From the opening of the request to the end of its prefill (on the GPU where that is later), and from there on per step.
-- columns:
--   request_id   BIGINT   Range of the request.
--   is_warmup    BOOLEAN  Whether it is warm-up.
--   prompt_shape VARCHAR  Shape of its prefill, of the first chunk where it is in chunks.
--   decode_steps BIGINT   Decode steps.
--   ttft_ns      BIGINT   Time to first token. Unit: ns.
--   tpot_ns      DOUBLE   Time per output token, NULL without decode steps. Unit: ns.
WITH request AS (
    SELECT
        request_id, bool_or(is_warmup) AS is_warmup,
        arg_min(shape, (start_ns, occurrence_id)) FILTER (WHERE phase = 'prefill') AS prompt_shape,
        count(*) FILTER (WHERE phase = 'decode') AS decode_steps,
        max(greatest(end_ns, coalesce(gpu_end_ns, end_ns))) FILTER (WHERE phase = 'prefill') AS first_token_ns,
        max(greatest(end_ns, coalesce(gpu_end_ns, end_ns))) FILTER (WHERE phase = 'decode') AS last_token_ns
    FROM phases
    WHERE request_id IS NOT NULL
    GROUP BY request_id
)
SELECT
    q.request_id, q.is_warmup, q.prompt_shape, q.decode_steps, q.first_token_ns - r.start_ns AS ttft_ns,
    (q.last_token_ns - q.first_token_ns) / nullif(q.decode_steps, 0) AS tpot_ns
FROM request AS q JOIN nvtx_ranges AS r ON r.range_id = q.request_id
ORDER BY r.start_ns, q.request_id
