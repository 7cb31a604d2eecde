-- Phases that no range marks: they were inferred from the launches.
-- Grain: one row, none if ranges say what the phases are.
-- severity: warning
-- message: no range says what a phase is: {occurrence_count:,} occurrences of {phases} are inferred from the launches{levels}
-- hint: --no-infer leaves all work outside; `nsys_pipeline.markers.phase` or --phase NAME=REGEX says what is a phase
-- concerns: attribute.phase_walls, views.phases
-- empty without: attribute._inferred_phases
-- requires: attribute._inferred_phases, attribute.inference
-- columns:
--   phase            VARCHAR NULL: it is about all of them.
--   at_stake_ns      BIGINT  Host time in them. Unit: ns.
--   occurrence_count BIGINT  Occurrences.
--   phases           VARCHAR Their names.
--   levels           VARCHAR After a semicolon, what steps are made of and make up; '' if nothing tells.
SELECT
    NULL::VARCHAR AS phase, sum(end_ns - start_ns)::BIGINT AS at_stake_ns, count(*) AS occurrence_count,
    array_to_string(list_sort(list(DISTINCT phase)), ', ') AS phases,
    coalesce((SELECT '; ' || hierarchy FROM attribute.inference), '') AS levels
FROM attribute._inferred_phases
HAVING count(*) > 0
