-- Phases that no range marks: they were inferred from the launches.
-- Grain: one row, none if ranges say what the phases are.
-- severity: warning
-- message: {ground}: {occurrence_count:,} occurrences of {phases} are inferred from the launches{levels}{unmeasured}
-- hint: {advice}
-- concerns: attribute.phase_walls, views.phases
-- empty without: attribute._inferred_phases
-- requires: attribute._inferred_phases, attribute._phase_candidates, attribute.inference, attribute.request_times, load.nvtx_ranges
-- columns:
--   phase            VARCHAR NULL: it is about all of them.
--   at_stake_ns      BIGINT  Host time in them. Unit: ns.
--   ground           VARCHAR Why they were looked for.
--   occurrence_count BIGINT  Occurrences.
--   phases           VARCHAR Their names.
--   levels           VARCHAR After a semicolon, what steps are made of and make up; '' if nothing tells.
--   unmeasured       VARCHAR After a semicolon, the requests that are warm-up or cold; '' if there are none.
--   advice           VARCHAR What to do about it.
WITH told AS (
    SELECT
        (SELECT is_forced FROM attribute.inference) AS is_forced, (SELECT count(*) FROM load.nvtx_ranges) AS range_count,
        (SELECT count(*) FROM attribute._phase_candidates) AS phase_count
),
request AS (
    SELECT
        count(*) FILTER (WHERE is_warmup) AS warming,
        count(*) FILTER (WHERE NOT is_warmup AND has_cold_prefill AND (has_cold_decode OR decode_steps = 0)) AS cold
    FROM attribute.request_times
)
SELECT
    NULL::VARCHAR AS phase, p.wall_ns AS at_stake_ns,
    CASE
        WHEN t.is_forced AND t.phase_count > 0 THEN '--infer heeds none of the ranges that are phases'
        WHEN t.range_count = 0 THEN 'there are no NVTX ranges'
        ELSE format('none of the {:,} NVTX ranges is a phase that llmperf knows', t.range_count)
    END AS ground,
    p.occurrence_count, p.phases,
    coalesce((SELECT '; ' || hierarchy FROM attribute.inference), '') AS levels,
    CASE
        WHEN r.warming + r.cold = 0 THEN ''
        ELSE '; requests that are not measured: ' || concat_ws(
            ' and ', CASE WHEN r.warming > 0 THEN format('{:,} of warm-up', r.warming) END,
            CASE WHEN r.cold > 0 THEN format('{:,} cold', r.cold) END
        )
    END AS unmeasured,
    CASE
        WHEN t.is_forced AND t.phase_count > 0 THEN 'without --infer the ranges say what the phases are'
        WHEN t.range_count = 0
            THEN '--no-infer leaves all work outside; `nsys_pipeline.markers.phase` or `llmperf capture` marks phases'
        WHEN t.is_forced
            THEN '`llmperf analyze --list-ranges` lists the ranges; instead of --infer, --phase NAME=REGEX says which are phases'
        ELSE '--no-infer leaves all work outside; `nsys_pipeline.markers.phase` or --phase NAME=REGEX says what is a phase'
    END AS advice
FROM (
    SELECT
        sum(end_ns - start_ns)::BIGINT AS wall_ns, count(*) AS occurrence_count,
        array_to_string(list_sort(list(DISTINCT phase)), ', ') AS phases
    FROM attribute._inferred_phases
    HAVING count(*) > 0
) AS p
CROSS JOIN told AS t
CROSS JOIN request AS r
