-- Requests that an engine served, whose steps `llmperf capture --auto` marked: time waited, TTFT, TPOT, chunks, cached tokens.
-- Grain: request, process_id; engines beside each other may use the same names. Of a request that began before the recording, or goes on after it, what lies outside is not known.
-- requires: attribute.served_request_times
-- columns:
--   request         VARCHAR  Name that the engine gives it.
--   process_id      BIGINT   Operating-system pid of the worker; where another engine computed the prompt, of the one that went on.
--   is_warmup       BOOLEAN  Whether it began in warm-up.
--   is_cold         BOOLEAN  Whether one of its steps is cold and left out of the times of phases. Its own times count: its client waited for it.
--   arrived_ns      BIGINT   When the server took it in, NULL where that was not recorded. Unit: ns.
--   started_ns      BIGINT   Start of its first step. Unit: ns.
--   first_token_ns  BIGINT   When its first token was there, NULL where that is not in the recording, its client had given it up, or a model generates none (embeddings, scores). Unit: ns.
--   last_token_ns   BIGINT   End of its last step that was done before its client gave it up; one that only computes again what a preemption threw away is none. Unit: ns.
--   waiting_ns      BIGINT   From arrival to its first step, in whichever engine. Unit: ns.
--   ttft_ns         BIGINT   Time to first token, from arrival. Unit: ns.
--   tpot_ns         DOUBLE   Time per output token after the first; NULL with fewer than two. Unit: ns.
--   latency_ns      BIGINT   From arrival to its last token. Unit: ns.
--   prompt_tokens   BIGINT   Length of its prompt, NULL where neither its arrival nor a step over it was recorded. Unit: tokens.
--   reused_tokens   BIGINT   Of those, found in the cache when it began: prefix cache or KV transfer; NULL where its beginning was not recorded. Unit: tokens.
--   new_tokens      BIGINT   Tokens that it generated until it ended or, in vLLM, its client gave it up. SGLang's overlapping scheduler, and vLLM's
--                            asynchronous one before a limit, make perhaps one more, which is thrown away. Unit: tokens.
--   prefill_steps   BIGINT   Steps over its prompt: chunks.
--   steps           BIGINT   All its steps.
--   preemptions     BIGINT   How often it was preempted and computed again.
--   draft_tokens    BIGINT   Guesses that were checked. Unit: tokens.
--   judged_tokens   BIGINT   Of those, guesses of which a later step shows how many were right: not those of its last step. Unit: tokens.
--   accepted_tokens BIGINT   Of those, the ones that were right. Unit: tokens.
SELECT
    request, process_key & 16777215 AS process_id, is_warmup, is_left_cold AS is_cold, arrived_ns, started_ns,
    CASE WHEN is_generating THEN first_token_ns END AS first_token_ns, last_token_ns,
    started_ns - arrived_ns AS waiting_ns, CASE WHEN is_generating THEN first_token_ns - arrived_ns END AS ttft_ns,
    CASE WHEN new_tokens > 1 THEN (last_token_ns - first_token_ns) / (new_tokens - 1) END AS tpot_ns,
    last_token_ns - arrived_ns AS latency_ns, known_prompt_tokens AS prompt_tokens,
    CASE WHEN arrived_ns IS NOT NULL OR prompt_tokens - reused_tokens > 1 THEN reused_tokens END AS reused_tokens, new_tokens, prefill_steps, steps, preemptions,
    draft_tokens, judged_tokens, accepted_tokens
FROM attribute.served_request_times
