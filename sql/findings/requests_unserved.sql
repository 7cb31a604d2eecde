-- Requests that arrived and had waited for their first token for longer than most others do, when the recording ended or their client gave
-- them up. A request whose steps a window cuts away was served, and is not counted at all.
-- Grain: one row, where there are some.
-- severity: warning
-- message: {request_count:,} of {of:,} requests had no first token when the recording ended or their client gave them up, after up to
--   {waited_ms:,} ms and longer than the median TTFT of the others: latencies and goodput leave them out, and look better than what was asked of the engine
-- hint: record until they are served, or send fewer requests
-- concerns: attribute.served_request_times
-- empty without: attribute.served_request_times
-- requires: attribute._arrivals, attribute._request_names, attribute._request_steps, attribute.served_request_times
-- columns:
--   phase         VARCHAR NULL.
--   at_stake_ns   BIGINT  NULL. Unit: ns.
--   request_count BIGINT  Such requests.
--   of            BIGINT  Requests that arrived.
--   waited_ms     BIGINT  How long the first of them had waited. Unit: ms.
WITH served AS (
    -- With a second token it had a first one, wherever that was made.
    SELECT request, count(*) AS requests FROM attribute.served_request_times WHERE first_token_ns IS NOT NULL OR new_tokens > 1 GROUP BY request
),
others AS (
    SELECT
        max(last_token_ns) AS end_ns,
        coalesce(median(first_token_ns - arrived_ns) FILTER (WHERE NOT is_warmup), 0) AS ttft_ns
    FROM attribute.served_request_times
),
-- It comes to both engines if one computes its prompt and another goes on.
arrival AS (
    SELECT
        request, CASE WHEN request IN (SELECT request FROM attribute._request_steps WHERE is_handed) THEN max(arrivals) ELSE sum(arrivals) END
            AS requests,
        min(arrived_ns) AS arrived_ns, CASE WHEN count(given_up_ns) = count(*) THEN max(given_up_ns) END AS given_up_ns
    FROM attribute._arrivals
    WHERE request NOT IN (SELECT request FROM attribute._request_names WHERE request IS NOT NULL)
        OR request IN (SELECT request FROM attribute.served_request_times WHERE NOT is_cut)
    GROUP BY request
),
left_over AS (
    SELECT
        a.requests, a.requests - least(a.requests, coalesce(s.requests, 0)) AS unserved, least(o.end_ns, a.given_up_ns) - a.arrived_ns AS waited_ns,
        o.ttft_ns
    FROM arrival AS a CROSS JOIN others AS o LEFT JOIN served AS s USING (request)
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    coalesce(sum(unserved) FILTER (WHERE waited_ns > ttft_ns), 0)::BIGINT AS request_count, sum(requests)::BIGINT AS of,
    (max(waited_ns) FILTER (WHERE unserved > 0 AND waited_ns > ttft_ns) // 1000000)::BIGINT AS waited_ms
FROM left_over
HAVING request_count > 0
