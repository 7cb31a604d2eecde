-- One row per request: its prompt, time to first token and time per output token.
-- Grain: request_id.
-- requires: attribute.request_times, estimate.request_shapes
-- columns:
--   request_id   BIGINT   Range of the request. Joins nvtx_ranges on range_id, phases on request_id.
--   process_id   BIGINT   Operating-system pid. Joins processes.
--   is_warmup    BOOLEAN  Whether it is inside warm-up.
--   is_ttft_cold BOOLEAN  Whether part of its prefill is cold and left out: then its TTFT is not measured. Of the first of several
--                         inferred requests of a thread, whether anything in it is.
--   is_tpot_cold BOOLEAN  Whether a decode step is: then its TPOT is not measured. Of such a first one as above.
--   shape        VARCHAR  Shape of the prompt, all of its chunks: batch x prompt tokens; NULL where it is not known, or where
--                         chunks do not add up to one or are several prompts.
--   start_ns     BIGINT   Start of the request. Unit: ns.
--   decode_steps BIGINT   Decode steps.
--   ttft_ns      BIGINT   Time to first token: from the start of the request to the end of its prefill, on the host or, where
--                         that is later, on the GPU, with the sampling behind it. Of several prompts that of the first. NULL without a
--                         prefill. Unit: ns.
--   tpot_ns      DOUBLE   Time per output token: from there to the end of its last decode step, per step. NULL without decode
--                         steps, with speculative decoding, where a prefill follows a decode step, and where such a step runs several
--                         passes. Unit: ns.
SELECT
    t.request_id, t.process_key & 16777215 AS process_id, t.is_warmup, t.has_cold_prefill AS is_ttft_cold,
    t.has_cold_decode AS is_tpot_cold, s.shape, t.start_ns, t.decode_steps, t.ttft_ns,
    t.tpot_ns
FROM attribute.request_times AS t LEFT JOIN estimate.request_shapes AS s USING (request_id)
