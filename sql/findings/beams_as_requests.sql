-- Beams of a search that vLLM's server runs as requests of their own, one token each: none of them is what a client asked for.
-- Grain: one row, where there are some.
-- severity: warning
-- message: {beam_count:,} of {of:,} served requests are beams of a search, which vLLM's server runs as requests of one token each: requests, new
--   tokens, TTFT and latencies are those of beams, not of texts
-- hint: of a search over B beams, one in B of the new tokens is in the text; time the requests at the client
-- concerns: attribute.served_request_times
-- empty without: attribute.served_request_times
-- requires: attribute.served_request_times
-- columns:
--   phase       VARCHAR NULL.
--   at_stake_ns BIGINT  NULL. Unit: ns.
--   beam_count  BIGINT  Such requests.
--   of          BIGINT  All that were served.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    count_if(regexp_matches(request, '-beam-\d+(-\w+)?$'))::BIGINT AS beam_count, count(*) AS of
FROM attribute.served_request_times
HAVING beam_count > 0
