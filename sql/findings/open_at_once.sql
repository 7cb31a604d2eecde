-- Phases that several threads have open at once although they share a GPU: their wall times are of the same time. Threads that come
-- and go, each with a GPU of its own at the time, share none. Where others work, a process without work shares none that is known.
-- Grain: phase.
-- severity: warning
-- message: {who} have {phase} open at once, and wall time adds them up: {wall_ns:ms} of wall in {at_stake_ns:ms} of elapsed time
-- hint: MFU wall and MBU wall are of the sum; busy % is of the elapsed time
-- concerns: attribute.phase_walls
-- empty without: attribute.phase_walls WHERE elapsed_ns < wall_ns
-- requires: attribute.phase_walls, attribute.phase_devices, attribute.occurrences
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Time in which at least one of its ranges is open. Unit: ns.
--   wall_ns     BIGINT  Host time inside its ranges, added up over threads. Unit: ns.
--   who         VARCHAR What kind of threads.
WITH idle AS (
    SELECT phase, count(DISTINCT global_tid) AS threads
    FROM attribute.occurrences ANTI JOIN attribute.phase_devices USING (phase, process_key)
    GROUP BY phase
)
SELECT
    w.phase, any_value(w.elapsed_ns) AS at_stake_ns, any_value(w.wall_ns) AS wall_ns,
    CASE WHEN count(d.device_id) > 0 THEN 'threads that share a GPU' ELSE 'several threads' END AS who
FROM attribute.phase_walls AS w
LEFT JOIN attribute.phase_devices AS d USING (phase)
LEFT JOIN idle AS i USING (phase)
WHERE w.elapsed_ns < w.wall_ns
GROUP BY w.phase
HAVING count(DISTINCT d.device_id) + CASE WHEN count(d.device_id) > 0 THEN coalesce(any_value(i.threads), 0) ELSE 0 END < any_value(w.thread_count)
    AND any_value(w.gpu_open_ns) < any_value(w.wall_ns - w.warmup_wall_ns - w.cold_wall_ns)
