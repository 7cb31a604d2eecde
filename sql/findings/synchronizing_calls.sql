-- Steps that wait for the GPU in their middle: after each wait the GPU has nothing to do until the host has launched again.
-- Algorithm: from the return of such a call to the start of the next work that its thread launches in the phase, the time in which
-- nothing runs on that GPU counts, and so does the class `sync`. A call that waits for an event of long ago leaves the GPU busy: it costs
-- nothing. A step needs to wait once, for its result: steps that wait twice or more are told, and all that wait if the GPU is idle inside
-- the calls for a quarter of the phase's time. It has to be a twentieth of the phase's time, because a few waits per step cost little.
-- Grain: phase.
-- severity: info
-- message: in {place} {steps} the GPU {times}: {names}{where_called}; {told}
-- hint: {cure}; the time between waits is idle GPU time in `time_budget`
-- empty without: attribute.costly_call_totals WHERE what = 'synchronizing'
-- requires: attribute.phase_spending, attribute.costly_call_totals, attribute.costly_calls, attribute.phase_ranges, attribute.gpu_work, attribute._measured_windows,
--   macros.covered, macros.exposed
-- columns:
--   phase        VARCHAR The phase.
--   at_stake_ns  BIGINT  Idle time of the GPU after and inside the calls, at most that of the classes. Unit: ns.
--   budget_part  VARCHAR 'host+launch+latency+sync+api'.
--   place        VARCHAR The phase in a sentence.
--   steps        VARCHAR 'each step waits for', or how many of them do.
--   times        VARCHAR How often each of those does, on average.
--   names        VARCHAR The calls of the phase.
--   where_called VARCHAR The range in which most of their time is spent.
--   told         VARCHAR When the GPU is idle.
--   cure         VARCHAR What helps mostly.
WITH waiting AS (
    SELECT s.phase, c.occurrence_id, count(*) AS call_count
    FROM attribute.costly_calls AS c
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    JOIN attribute.phase_spending AS s USING (phase)
    WHERE c.what = 'synchronizing'
    GROUP BY s.phase, s.sync_ns, s.phase_ns, c.occurrence_id
    HAVING count(*) >= 2 OR s.sync_ns >= s.phase_ns / 4
),
often AS (
    SELECT w.phase, w.waiting_count, w.call_count, t.names, t.place
    FROM (SELECT phase, count(*) AS waiting_count, sum(call_count) AS call_count FROM waiting GROUP BY phase) AS w
    JOIN attribute.costly_call_totals AS t USING (phase)
    WHERE t.what = 'synchronizing'
),
call AS (
    SELECT w.phase, c.global_tid, c.end_ns
    FROM attribute.costly_calls AS c JOIN waiting AS w USING (occurrence_id)
    WHERE c.what = 'synchronizing'
),
launch AS (
    SELECT w.global_tid, w.launch_start_ns, p.phase, w.device_id, min(w.start_ns) AS start_ns
    FROM attribute.gpu_work AS w LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    WHERE (SELECT count(*) FROM call) > 0 AND w.global_tid IN (SELECT global_tid FROM call) AND w.end_ns > w.start_ns
    GROUP BY ALL
),
-- The gap belongs to the phase of the work that ends it.
span AS MATERIALIZED (
    SELECT {'phase': phase, 'device_id': device_id} AS group_id, start_ns, end_ns
    FROM (
        SELECT c.phase, l.phase AS next_phase, l.device_id, c.end_ns AS start_ns, l.start_ns AS end_ns
        FROM call AS c ASOF JOIN launch AS l ON l.global_tid = c.global_tid AND l.launch_start_ns >= c.end_ns
    )
    WHERE next_phase = phase AND end_ns > start_ns
),
work AS MATERIALIZED (
    SELECT s.group_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN (SELECT group_id, min(start_ns) AS start_ns, max(end_ns) AS end_ns FROM span GROUP BY group_id) AS s
        ON s.group_id.device_id IS NOT DISTINCT FROM w.device_id AND w.end_ns > s.start_ns AND w.start_ns < s.end_ns
),
idle AS MATERIALIZED (
    SELECT row_number() OVER () AS span_id, group_id.phase AS phase, coalesce(group_id.device_id, 0) AS group_id, start_ns, end_ns
    FROM macros.exposed('span', 'work')
),
drained AS (
    SELECT i.phase, sum(m.covered_ns) AS time_ns
    FROM idle AS i JOIN macros.covered('idle', 'attribute._measured_windows') AS m USING (span_id)
    GROUP BY i.phase
),
valued AS (
    SELECT
        s.*, o.waiting_count, (o.call_count / o.waiting_count)::BIGINT AS per_step, o.names, o.place AS where_called,
        4 * s.sync_ns >= s.phase_ns AS is_idle_inside,
        least(coalesce(d.time_ns, 0) + s.sync_ns, s.host_ns + s.launch_ns + s.latency_ns + s.sync_ns + s.api_ns)::BIGINT AS at_stake_ns
    FROM attribute.phase_spending AS s JOIN often AS o USING (phase) LEFT JOIN drained AS d USING (phase)
)
SELECT
    phase, at_stake_ns, 'host+launch+latency+sync+api' AS budget_part, place,
    CASE
        WHEN waiting_count >= step_count THEN 'each step waits for'
        ELSE format('{:,} of {:,} steps wait for', waiting_count, step_count)
    END AS steps,
    CASE WHEN per_step = 1 THEN 'once' ELSE format('{:,} times', per_step) END AS times, names, where_called,
    CASE
        WHEN is_idle_inside THEN format('for {:,.1f} ms inside these calls the GPU is idle', sync_ns / 1e6)
        ELSE 'after each the GPU is idle until the next launch'
    END AS told,
    CASE
        WHEN is_idle_inside
            THEN 'see whom they wait for: another GPU, work of the host on a stream, or a thread that sleeps until the GPU wakes it '
                || '(`cudaDeviceScheduleBlockingSync`, events with blocking sync), and wait once at the end'
        ELSE 'keep values on the GPU (no `.item()`, `.tolist()`, `.cpu()`, `nonzero` or `print` of a tensor in a step), copy to pinned '
            || 'memory with non_blocking=True, and wait once at the end'
    END AS cure
FROM valued
WHERE at_stake_ns >= phase_ns / 20 AND at_stake_ns >= least_ns
