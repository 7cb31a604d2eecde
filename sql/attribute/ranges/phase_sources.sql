-- What says that the phases of a name are phases.
-- Grain: phase.
-- requires: load.nvtx_ranges, input.range_roles, attribute.phase_ranges, attribute._inferred_phases
-- columns:
--   phase    VARCHAR  Name of the phase.
--   source   VARCHAR  'markers' (the contract of llmperf), 'rules', 'options' (--phase, --range) or 'inferred'; several in that order.
--   score    DOUBLE   Of inferred phases, the least: share of the work that agrees. Else NULL.
--   evidence VARCHAR  Of inferred phases: what says so, in one line. Else NULL.
WITH told AS (
    SELECT
        p.phase, i.score, i.evidence,
        CASE
            WHEN i.occurrence_id IS NOT NULL THEN 'inferred'
            WHEN m.rule = 'contract' THEN 'markers'
            WHEN starts_with(m.rule, '--') THEN 'options'
            ELSE 'rules'
        END AS source
    FROM attribute.phase_ranges AS p
    LEFT JOIN attribute._inferred_phases AS i USING (occurrence_id)
    LEFT JOIN load.nvtx_ranges AS r ON r.range_id = p.occurrence_id
    LEFT JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
)
SELECT
    phase,
    array_to_string(list_sort(list(DISTINCT source)), ', ') AS source,
    min(score) AS score, mode(evidence) AS evidence
FROM told
GROUP BY phase
