-- Calls that launch kernels in a trace of nsys, a part of which has no kernel: its buffers were full, or the recording ended first.
-- Those inside a stream capture launch nothing: they make a graph, and autograd's threads take part in the capture of a training
-- step. A few are lost at the end of most recordings, so that
-- less than one in fifty is not told. What `--cudabacktrace` records twice counts once.
-- Grain: one row, none if nearly every such call has its kernel, no call has, or torch.profiler recorded the trace.
-- severity: warning
-- message: {lost_count:,} of {launch_count:,} calls that launch kernels have none in the trace, the first {first_ms:,} ms
--   after the first call: every GPU time lacks them, and a utilization of busy time is too high
-- hint: nsys lost them: record a shorter part, as with --capture-range=cudaProfilerApi, and let it end after a synchronization
-- concerns: load.gpu_ops
-- empty without: load.recorder WHERE recorder <> 'torch.profiler'
-- requires: load.api_calls, load.strings, load.recorder, attribute._linked_work, attribute._repeated_links, attribute._stream_captures, macros.cuda_call
-- columns:
--   phase        VARCHAR NULL: they may be of any phase.
--   at_stake_ns  BIGINT  NULL: their time is what is missing. Unit: ns.
--   lost_count   BIGINT  Calls without a kernel; those that launch graphs are in untraced_graphs.
--   launch_count BIGINT  All calls that launch kernels, outside stream captures.
--   first_ms     BIGINT  When the first of them was, after the first CUDA call of the trace. Unit: ms.
WITH launch AS (
    SELECT api_id, global_tid, process_key, start_ns, correlation_id
    FROM load.api_calls
    WHERE name_id IN (SELECT string_id FROM load.strings WHERE regexp_matches(macros.cuda_call(value), '^cu(da)?Launch(Cooperative)?Kernel'))
),
-- Few, so that only these are looked up among captures.
unlinked AS (
    SELECT l.start_ns, coalesce(g.is_begin, false) OR coalesce(p.is_begin, false) AS is_captured
    FROM (
        SELECT DISTINCT global_tid, process_key, start_ns, correlation_id
        FROM launch ANTI JOIN (SELECT api_id FROM attribute._linked_work WHERE api_id IS NOT NULL) USING (api_id)
    ) AS l
    ASOF LEFT JOIN attribute._stream_captures AS g ON g.global_tid = l.global_tid AND g.start_ns <= l.start_ns
    ASOF LEFT JOIN attribute._stream_captures AS p ON p.process_key = l.process_key AND p.start_ns <= l.start_ns
),
doubled AS (
    SELECT count(*) > 0 AS is_doubled FROM attribute._repeated_links
),
launched AS (
    SELECT count(*) AS calls FROM launch WHERE NOT (SELECT is_doubled FROM doubled)
    UNION ALL
    SELECT count(*) FROM (SELECT DISTINCT global_tid, start_ns, correlation_id FROM launch WHERE (SELECT is_doubled FROM doubled))
),
counts AS (
    SELECT
        count_if(NOT is_captured) AS lost_count, (SELECT sum(calls) FROM launched) - count_if(is_captured) AS launch_count,
        (min(start_ns) FILTER (NOT is_captured) - (SELECT min(start_ns) FROM load.api_calls)) // 1000000 AS first_ms
    FROM unlinked
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, lost_count::BIGINT AS lost_count, launch_count::BIGINT AS launch_count,
    first_ms::BIGINT AS first_ms
FROM counts
WHERE (SELECT recorder FROM load.recorder) <> 'torch.profiler'
    -- None at all: `kernels_missing`.
    AND lost_count * 50 >= launch_count AND lost_count BETWEEN 1 AND launch_count - 1
