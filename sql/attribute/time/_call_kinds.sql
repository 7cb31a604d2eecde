-- What a CUDA call is to a GPU that waits, by its name: one that launches work, one that waits for work, or another one.
-- Grain: name_id.
-- materialize: table
-- requires: load.strings, attribute._linked_work, macros.cuda_call
-- columns:
--   name_id   UINTEGER  Joins load.strings.
--   kind      UTINYINT  0 launches, 1 synchronizes, 2 neither.
--   may_launch BOOLEAN  Whether calls of a name that does not say so have launched work: then such calls are of kind 0.
WITH linked AS (
    SELECT DISTINCT call_name_id AS name_id FROM attribute._linked_work WHERE call_name_id IS NOT NULL
),
named AS (
    SELECT
        string_id,
        CASE
            WHEN regexp_matches(value, 'Synchronize') THEN 1
            WHEN regexp_matches(value, '^cu(da)?Memcpy') THEN CASE WHEN contains(value, 'Async') THEN 0 ELSE 1 END
            WHEN regexp_matches(value, '^cu(da)?(GraphLaunch|Launch|Memset)') AND NOT contains(value, 'LaunchHostFunc') THEN 0
            ELSE 2
        END::UTINYINT AS kind
    FROM (
        SELECT string_id, macros.cuda_call(value) AS value FROM load.strings
        WHERE starts_with(value, 'cu') OR starts_with(value, 'hip')
    )
)
SELECT n.string_id::UINTEGER AS name_id, n.kind, n.kind > 0 AND l.name_id IS NOT NULL AS may_launch
FROM named AS n LEFT JOIN linked AS l ON l.name_id = n.string_id
WHERE n.kind < 2 OR l.name_id IS NOT NULL
