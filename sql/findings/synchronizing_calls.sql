-- Steps that wait for the GPU in their middle: after each wait the GPU has nothing to do until the host has launched again.
-- Algorithm: the time from the return of such a call to the start of the next work that its thread launches is idle, and so is
-- the part of the class `sync` after the last work before it. A step needs to wait once, for its result: from twice on it is
-- told. It has to be a twentieth of the phase's time, because a few waits per step cost little.
-- Grain: phase.
-- severity: info
-- message: in {place} each step waits for the GPU {per_step:,} times: {names}{where_called}; after each the GPU is idle until the next
--   launch
-- hint: keep values on the GPU (no `.item()`, `.tolist()`, `.cpu()`, `nonzero` or `print` of a tensor in a step), copy to pinned memory
--   with non_blocking=True, and wait once at the end; the time between waits is idle GPU time in `time_budget`
-- empty without: attribute.costly_call_totals WHERE what = 'synchronizing'
-- requires: attribute.phase_spending, attribute.costly_call_totals, attribute.costly_calls, attribute.phase_ranges, attribute.gpu_work
-- columns:
--   phase        VARCHAR The phase.
--   at_stake_ns  BIGINT  Idle time after the calls, at most that of the classes. Unit: ns.
--   budget_part  VARCHAR 'host+launch+latency+sync+api'.
--   place        VARCHAR The phase in a sentence.
--   per_step     BIGINT  Calls of an occurrence, on average.
--   names        VARCHAR The calls.
--   where_called VARCHAR The range in which most of their time is spent.
WITH often AS (
    SELECT s.phase, s.step_count, t.call_count, t.names, t.place
    FROM attribute.phase_spending AS s JOIN attribute.costly_call_totals AS t USING (phase)
    WHERE t.what = 'synchronizing' AND t.call_count >= 2 * s.step_count
),
call AS (
    SELECT o.phase, c.global_tid, c.end_ns
    FROM attribute.costly_calls AS c JOIN attribute.phase_ranges AS p USING (occurrence_id) JOIN often AS o USING (phase)
    WHERE c.what = 'synchronizing'
),
launch AS (
    SELECT w.global_tid, w.launch_start_ns, w.start_ns
    FROM attribute.gpu_work AS w
    WHERE (SELECT count(*) FROM call) > 0 AND w.global_tid IN (SELECT global_tid FROM call)
),
-- Of several waits before one launch the last one counts.
drained AS (
    SELECT phase, sum(start_ns - end_ns) AS time_ns
    FROM (
        SELECT c.phase, l.global_tid, l.start_ns, max(c.end_ns) AS end_ns
        FROM call AS c
        ASOF JOIN launch AS l ON l.global_tid = c.global_tid AND l.launch_start_ns >= c.end_ns
        GROUP BY c.phase, l.global_tid, l.launch_start_ns, l.start_ns
    )
    WHERE start_ns > end_ns
    GROUP BY phase
),
valued AS (
    SELECT
        s.*, o.call_count, o.names, o.place AS where_called,
        least(d.time_ns + s.sync_ns, s.host_ns + s.launch_ns + s.latency_ns + s.sync_ns + s.api_ns)::BIGINT AS at_stake_ns
    FROM attribute.phase_spending AS s JOIN often AS o USING (phase) JOIN drained AS d USING (phase)
)
SELECT
    phase, at_stake_ns, 'host+launch+latency+sync+api' AS budget_part, place, (call_count / step_count)::BIGINT AS per_step,
    names, where_called
FROM valued
WHERE at_stake_ns >= phase_ns / 20 AND at_stake_ns >= least_ns
