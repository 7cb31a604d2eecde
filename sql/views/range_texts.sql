-- Texts of NVTX ranges and what they count as; texts that differ in numbers alone and mean the same are one row.
-- Grain: domain, name, role, phase, rule.
-- requires: load.nvtx_ranges, load.range_names, input.range_roles, attribute._marked_phases
-- columns:
--   domain      VARCHAR  Domain, '' for the default domain.
--   name        VARCHAR  Text, with `N` for numbers if there are several texts.
--   texts       BIGINT   Distinct texts.
--   count       BIGINT   Ranges.
--   total_ns    BIGINT   Time inside them, added up. Unit: ns.
--   role        VARCHAR  What they count as: 'phase', 'warmup', 'request', …; NULL for nothing.
--   phase       VARCHAR  Name of the phase, NULL if they are no phase.
--   rule        VARCHAR  The rule that says so.
--   occurrences BIGINT   Ranges that count as occurrences of the phase; the others are parts of one, or loops around some.
WITH text AS (
    SELECT
        r.domain, r.name, count(*) AS "count", sum(r.end_ns - r.start_ns)::BIGINT AS total_ns,
        count(m.occurrence_id) AS occurrences
    FROM load.nvtx_ranges AS r LEFT JOIN attribute._marked_phases AS m ON m.occurrence_id = r.range_id
    GROUP BY r.domain, r.name
)
SELECT
    text.domain,
    CASE
        WHEN count(*) = 1 THEN any_value(text.name)
        ELSE regexp_replace(n.pattern, '\d+', 'N', 'g')
    END AS name,
    count(*) AS texts, sum(text."count")::BIGINT AS "count", sum(text.total_ns)::BIGINT AS total_ns,
    m.role, m.phase, m.rule, sum(text.occurrences)::BIGINT AS occurrences
FROM text
JOIN load.range_names AS n ON n.domain = text.domain AND n.name = text.name
LEFT JOIN input.range_roles AS m ON m.domain = text.domain AND m.name = text.name
GROUP BY text.domain, n.pattern, m.role, m.phase, m.rule
