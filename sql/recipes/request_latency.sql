-- What are time to first token and time per output token of each request?
-- From the opening of the request to the end of its prefill (on the GPU where that is later, with the sampling behind it), and from there on per step.
-- columns:
--   request_id   BIGINT   Range of the request.
--   is_warmup    BOOLEAN  Whether it is warm-up.
--   is_ttft_cold BOOLEAN  Whether part of its prefill is cold and left out: request_summary leaves out its ttft_ns.
--   is_tpot_cold BOOLEAN  The same of its decode steps and its tpot_ns.
--   prompt_shape VARCHAR  Shape of its prefill, all of its chunks.
--   decode_steps BIGINT   Decode steps.
--   ttft_ns      BIGINT   Time to first token. Unit: ns.
--   tpot_ns      DOUBLE   Time per output token, NULL without decode steps. Unit: ns.
SELECT request_id, is_warmup, is_ttft_cold, is_tpot_cold, shape AS prompt_shape, decode_steps, ttft_ns, tpot_ns
FROM requests
ORDER BY start_ns, request_id
