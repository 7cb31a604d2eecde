-- What an engine calls the requests that its marks number.
-- Grain: process_key, request_number.
-- requires: attribute._step_marks
-- columns:
--   process_key    BIGINT   Joins load.processes.
--   request_number VARCHAR  Number in the marks of the process.
--   request        VARCHAR  Name.
WITH told AS (
    SELECT process_key, unnest(map_entries(TRY_CAST(json_extract(step, '$.new') AS MAP(VARCHAR, VARCHAR)))) AS entry
    FROM attribute._step_marks
)
SELECT process_key, entry.key AS request_number, min(entry.value) AS request FROM told GROUP BY process_key, entry.key
