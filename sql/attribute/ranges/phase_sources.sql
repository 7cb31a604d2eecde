-- What says that the phases of a name are phases.
-- Grain: phase.
-- requires: load.nvtx_ranges, input.range_roles, attribute.phase_ranges, attribute._inferred_phases
-- columns:
--   phase    VARCHAR  Name of the phase.
--   source   VARCHAR  'markers' (the contract of llmperf), 'rules', 'options' (--phase, --range) or 'inferred'; several in that order.
--   score    DOUBLE   Of inferred phases, the least: share of the work that agrees. Else NULL.
--   evidence VARCHAR  Of inferred phases: what was seen in how many occurrences, all of them together, and what that tells; in
--                     one line: '32 × (16 attention kernels, then arg-max or sampling); one token of each sequence'. Else NULL.
WITH told AS (
    SELECT
        p.phase, i.score, i.unit, i.evidence,
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
),
seen AS (
    SELECT phase, evidence, unit, count(*) AS occurrences
    FROM told
    WHERE evidence IS NOT NULL
    GROUP BY phase, evidence, unit
),
-- The most frequent ones by name.
kind AS (
    SELECT
        phase, evidence,
        CASE WHEN row_number() OVER (PARTITION BY phase ORDER BY occurrences DESC, unit) <= 4 THEN unit ELSE 'others' END AS unit,
        occurrences
    FROM seen
),
counted AS (
    SELECT phase, evidence, unit, sum(occurrences)::BIGINT AS occurrences FROM kind GROUP BY phase, evidence, unit
),
line AS (
    SELECT
        phase, sum(occurrences) AS occurrences,
        string_agg(format('{:,} × ({})', occurrences, unit), ', ' ORDER BY unit = 'others', occurrences DESC, unit)
            || '; ' || evidence AS line
    FROM counted
    GROUP BY phase, evidence
),
proof AS (
    SELECT phase, string_agg(line, '; and ' ORDER BY occurrences DESC, line) AS evidence FROM line GROUP BY phase
)
SELECT
    t.phase,
    array_to_string(list_sort(list(DISTINCT t.source)), ', ') AS source,
    min(t.score) AS score, any_value(p.evidence) AS evidence
FROM told AS t LEFT JOIN proof AS p USING (phase)
GROUP BY t.phase
