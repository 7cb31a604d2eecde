-- Events of a trace of torch.profiler that are not as it writes them.
-- Grain: one row, none where all are.
-- severity: warning
-- message: the trace has events that are not as torch.profiler writes them: {what}
-- hint: record again, and analyze the file as `export_chrome_trace` wrote it
-- concerns: load.gpu_ops
-- empty without: load.metadata WHERE starts_with(name, 'torch_profiler:')
-- requires: load.metadata
-- columns:
--   phase       VARCHAR NULL: nobody knows which phases they are of.
--   at_stake_ns BIGINT  NULL: that is what is not known. Unit: ns.
--   what        VARCHAR What is odd, and what became of it, with semicolons between.
WITH fact AS (
    SELECT substr(name, length('torch_profiler:') + 1) AS name, value, try_cast(value AS BIGINT) AS number
    FROM load.metadata
    WHERE source = 'capture' AND starts_with(name, 'torch_profiler:')
),
odd AS (
    SELECT CASE name
        WHEN 'endless_host_events' THEN format('{:,} ranges, operators and CUDA calls have no duration and count as points in time', number)
        WHEN 'half_events' THEN format('{:,} are halves, begin or end, and are not read', number)
        WHEN 'repeated_kernels' THEN format('{:,} kernels stand in it more than once and count once', number)
        WHEN 'shared_ids' THEN format('{:,} correlation ids are those of several calls, and work counts for the last call before it', number)
        WHEN 'unknown_events' THEN format('{} are of kinds that are not known and are not read', value)
    END AS text
    FROM fact
    WHERE number > 0 OR name = 'unknown_events'
)
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, string_agg(text, '; ' ORDER BY text) AS what
FROM odd
WHERE text IS NOT NULL
HAVING count(*) > 0
