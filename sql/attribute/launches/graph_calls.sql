-- Launches of CUDA graphs on the host, and how many of them left no trace of what the GPU did.
-- nsys before schema 3.8.4 records nothing of a graph that is traced as a whole, and stream captures may lose some.
-- What `--cudabacktrace` records twice counts once.
-- Grain: one row.
-- materialize: table
-- requires: load.api_calls, load.strings, load.metadata, attribute.gpu_work, macros.cuda_call
-- columns:
--   launch_count   BIGINT   Calls of cudaGraphLaunch and its kin.
--   untraced_count BIGINT   Those to which no GPU work belongs.
--   told           VARCHAR  How nsys was told to record graphs, as the beginning of a sentence; '' where the export does not say.
WITH launch AS (
    SELECT api_id, global_tid, start_ns, correlation_id
    FROM load.api_calls
    WHERE name_id IN (SELECT string_id FROM load.strings WHERE regexp_matches(macros.cuda_call(value), '^cu(da)?GraphLaunch'))
),
traced AS (
    SELECT api_id FROM launch
    SEMI JOIN (
        SELECT api_id FROM attribute.gpu_work
        -- Without such calls there is nothing to look for.
        WHERE api_id IS NOT NULL AND (SELECT count(*) FROM launch) > 0
    ) AS work USING (api_id)
),
call AS (
    SELECT count(t.api_id) > 0 AS is_traced FROM launch AS l LEFT JOIN traced AS t USING (api_id)
    GROUP BY l.global_tid, l.start_ns, l.correlation_id
)
SELECT
    (SELECT count(*) FROM call) AS launch_count, (SELECT count(*) FROM call WHERE NOT is_traced) AS untraced_count,
    CASE (
        SELECT min(lower(value)) FROM load.metadata
        WHERE source = 'capture' AND name LIKE '%CUDA_GRAPH_TRACE_OPTIONS:MODE'
    )
        WHEN 'graph' THEN 'nsys recorded with --cuda-graph-trace=graph: '
        WHEN 'node' THEN 'nsys was told to record nodes: '
        ELSE ''
    END AS told
