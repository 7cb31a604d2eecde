-- What was recorded of CUDA, in numbers.
-- Grain: one row.
-- requires: load.api_calls, load.strings, attribute.work_by_occurrence, macros.cuda_call
-- columns:
--   has_work            BOOLEAN Whether there is GPU work of any kind.
--   call_count          BIGINT  CUDA calls.
--   unanswered_launches BIGINT  Calls that launch kernels, if not one kernel or CUDA graph was recorded; else 0.
WITH kernel AS (
    SELECT coalesce(sum(kernel_count + graph_launch_count), 0) AS "count" FROM attribute.work_by_occurrence
)
SELECT
    (SELECT count(*) FROM attribute.work_by_occurrence) > 0 AS has_work,
    (SELECT count(*) FROM load.api_calls) AS call_count,
    (
        SELECT count(DISTINCT (global_tid, start_ns, correlation_id))
        FROM load.api_calls
        WHERE (SELECT "count" FROM kernel) = 0
            AND name_id IN (SELECT string_id FROM load.strings WHERE regexp_matches(macros.cuda_call(value), '^cu(da)?LaunchKernel'))
    ) AS unanswered_launches
