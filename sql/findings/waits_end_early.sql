-- Calls that wait for all of a GPU's work and return before it ends: the GPU's clock is ahead of the host's, or runs at another speed.
-- Algorithm: a cudaDeviceSynchronize of a process with one GPU waits for all that its own thread launched before. The latest end of
-- that is a running maximum over the waits. A hundred microseconds are within what profilers place events by.
-- Grain: one row, none where every such call returns after the work.
-- severity: warning
-- message: {call_count:,} calls that wait for the GPU return before work that they wait for ends, by up to {worst_ns:ms}: the GPU's clock is
--   ahead of the host's by that much, or does not run at its speed
-- hint: if it runs at another speed, all times of the GPU are too long or too short, busy time and utilization, too; launch latency, TTFT and
--   the idle classes of the budget are wrong in any case: record again
-- concerns: attribute.occurrence_times, attribute.request_times, attribute.work_by_occurrence
-- empty without: load.strings WHERE contains(value, 'Synchronize')
-- requires: attribute.gpu_work, load.api_calls, load.strings, macros.cuda_call
-- columns:
--   phase       VARCHAR NULL: clocks are of the whole trace.
--   at_stake_ns BIGINT  NULL: how far times are off is not known. Unit: ns.
--   call_count  BIGINT  Such calls.
--   worst_ns    BIGINT  Longest time by which one is too early. Unit: ns.
WITH lone AS (
    SELECT process_key FROM attribute.gpu_work GROUP BY process_key HAVING count(DISTINCT coalesce(device_id, 0)) = 1
),
wait AS (
    -- `--cudabacktrace` records some calls twice.
    SELECT a.global_tid, a.start_ns, max(a.end_ns) AS end_ns
    FROM load.api_calls AS a
    JOIN load.strings AS s ON s.string_id = a.name_id
    SEMI JOIN lone AS l ON l.process_key = a.process_key
    -- nsys appends the version of a call to its name.
    WHERE regexp_matches(macros.cuda_call(s.value), '^(cudaDevice|cuCtx)Synchronize(_v\d+)?$')
    GROUP BY a.global_tid, a.start_ns
),
-- Of what a thread launched since its wait before.
since AS (
    SELECT w.global_tid, w.start_ns, max(g.end_ns) AS last_end_ns
    FROM attribute.gpu_work AS g ASOF JOIN wait AS w ON w.global_tid = g.global_tid AND w.start_ns > g.launch_start_ns
    -- What ends sooner cannot end behind a wait that comes after its launch.
    WHERE g.end_ns > g.launch_start_ns + 100000
    GROUP BY w.global_tid, w.start_ns
),
done AS (
    SELECT w.end_ns, max(s.last_end_ns) OVER (PARTITION BY w.global_tid ORDER BY w.start_ns) AS last_end_ns
    FROM wait AS w LEFT JOIN since AS s USING (global_tid, start_ns)
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(*) AS call_count, max(last_end_ns - end_ns)::BIGINT AS worst_ns
FROM done
WHERE last_end_ns > end_ns + 100000
HAVING count(*) > 0
