-- What an engine calls the requests that its marks number. A mark outside the phases counts, too: that of a step which a window leaves out.
-- Grain: process_key, request_number.
-- empty without: load.nvtx_marks
-- requires: load.nvtx_marks
-- columns:
--   process_key    BIGINT   Joins load.processes.
--   request_number VARCHAR  Number in the marks of the process.
--   request        VARCHAR  Name.
--   named_ns       BIGINT   When it was first named: at its first step, or at the start of the recording. Unit: ns.
WITH told AS (
    SELECT
        process_key, at_ns,
        unnest(map_entries(TRY_CAST(json_extract(TRY_CAST(substr("text", 14) AS JSON), '$.new') AS MAP(VARCHAR, VARCHAR)))) AS entry
    FROM load.nvtx_marks
    WHERE starts_with("text", 'llmperf.step {') AND contains("text", '"new"')
)
SELECT process_key, entry.key AS request_number, min(entry.value) AS request, min(at_ns) AS named_ns
FROM told
GROUP BY process_key, entry.key
