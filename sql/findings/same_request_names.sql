-- Requests whose names are those of others, too.
-- Grain: one row, where there are some.
-- severity: warning
-- message: several requests have one name, {name_count:,} such names in all: where engines beside each other serve them, nothing says which of
--   them arrived when, so that they have no TTFT; where one engine does, they are one row in served_requests, whose times and tokens
--   are of no request
-- hint: give each request a name of its own
-- concerns: attribute.served_request_times
-- empty without: attribute.served_request_times
-- requires: attribute._arrivals, attribute.served_request_times, attribute.step_sequences
-- columns:
--   phase       VARCHAR NULL.
--   at_stake_ns BIGINT  NULL. Unit: ns.
--   name_count  BIGINT  Such names.
WITH arrived AS (
    SELECT DISTINCT request FROM attribute._arrivals
),
shared AS (
    SELECT t.request
    FROM attribute.served_request_times AS t SEMI JOIN arrived USING (request)
    WHERE t.is_shared_name AND t.arrived_ns IS NULL
    UNION
    SELECT request FROM attribute._arrivals WHERE arrivals > 1
    UNION
    SELECT request
    FROM (SELECT request FROM attribute.step_sequences GROUP BY occurrence_id, request HAVING count(*) > 1)
)
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(*) AS name_count
FROM shared
HAVING count(*) > 0
