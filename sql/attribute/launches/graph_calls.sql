-- Launches of CUDA graphs on the host, and how many of them left no trace of what the GPU did.
-- nsys before schema 3.8.4 records nothing of a graph that is traced as a whole, and stream captures may lose some.
-- Grain: one row.
-- materialize: table
-- requires: load.api_calls, load.strings, load.metadata, attribute.gpu_work, macros.cuda_call
-- columns:
--   launch_count   BIGINT   Calls of cudaGraphLaunch and its kin.
--   untraced_count BIGINT   Those to which no GPU work belongs.
--   told           VARCHAR  How nsys was told to record graphs, as the beginning of a sentence; '' where the export does not say.
WITH launch AS (
    SELECT api_id
    FROM load.api_calls
    WHERE name_id IN (SELECT string_id FROM load.strings WHERE regexp_matches(macros.cuda_call(value), '^cu(da)?GraphLaunch'))
),
untraced AS (
    SELECT api_id FROM launch
    ANTI JOIN (
        SELECT api_id FROM attribute.gpu_work
        -- Without such calls there is nothing to look for.
        WHERE api_id IS NOT NULL AND (SELECT count(*) FROM launch) > 0
    ) AS traced USING (api_id)
)
SELECT
    (SELECT count(*) FROM launch) AS launch_count, (SELECT count(*) FROM untraced) AS untraced_count,
    CASE (
        SELECT min(lower(value)) FROM load.metadata
        WHERE source = 'capture' AND name LIKE '%CUDA_GRAPH_TRACE_OPTIONS:MODE'
    )
        WHEN 'graph' THEN 'nsys recorded with --cuda-graph-trace=graph: '
        WHEN 'node' THEN 'nsys was told to record nodes: '
        ELSE ''
    END AS told
