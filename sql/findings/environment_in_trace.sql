-- The environment variables of the machine that recorded the trace, tokens included, are in it.
-- Grain: one row, none where there are none.
-- severity: warning
-- message: the trace holds {what} of the machine that recorded it{secrets}: whoever gets the trace gets them
-- hint: `llmperf export TRACE -o CLEAN.sqlite` writes a copy without them
-- empty without: load.environment
-- requires: load.environment
-- columns:
--   phase          VARCHAR NULL: it is about the whole trace.
--   at_stake_ns    BIGINT  NULL: no time is at stake. Unit: ns.
--   what           VARCHAR How many variables.
--   secrets        VARCHAR Those whose names look secret, at most three, or ''.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    CASE
        WHEN count(variable) = 0 THEN 'the environment of processes'
        ELSE format('{:,} environment variables', count(variable))
    END AS what,
    coalesce(
        ', among them ' || list_aggregate(
            list_slice(
                list_sort(
                    list(variable) FILTER (
                        WHERE regexp_matches(variable, 'TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY', 'i')
                    )
                ), 1, 3
            ), 'string_agg', ', '
        ), ''
    ) AS secrets
FROM load.environment
HAVING count(*) > 0
