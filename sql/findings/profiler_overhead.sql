-- Phases whose threads did something for the profiler itself for a while, by its own account.
-- Algorithm: a thread's time belongs to the phase that is open on it. On a thread without one, as autograd's are, it belongs to the
-- phase of what the thread launches next, if that phase was open already. Before the first launch it is nobody's.
-- Grain: phase.
-- severity: info
-- message: in {place} the profiler itself takes {overhead_ns:ms} of the host's time, most of it for `{name}`
-- hint: it is no time of the program: run each shape once before you record (`--capture-range profiler`, `--delay`), and see what
--   tracing costs in all with `capture --baseline`
-- empty without: load.profiler_overheads
-- requires: attribute.phase_spending, attribute.occurrences, attribute.range_segments, attribute.gpu_work, load.profiler_overheads,
--   load.strings, macros.islands, macros.next_launches
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  That time, at most what the GPU is idle for the host. Unit: ns.
--   budget_part VARCHAR 'host+launch+api'.
--   place       VARCHAR The phase in a sentence.
--   overhead_ns BIGINT  Time of the profiler on the phase's threads. Unit: ns.
--   name        VARCHAR What took most of it.
WITH overhead AS (
    SELECT global_tid AS group_id, start_ns, end_ns FROM load.profiler_overheads WHERE global_tid IS NOT NULL
),
island AS (
    SELECT group_id AS global_tid, start_ns, end_ns, start_ns AS at_ns FROM macros.islands('overhead')
),
launch AS (
    SELECT global_tid, launch_end_ns AS at_ns, device_id, occurrence_id FROM attribute.gpu_work
),
next_launch AS (
    SELECT i.global_tid, i.start_ns, w.occurrence_id
    FROM island AS i
    -- All that one launch starts is of one phase.
    ASOF JOIN macros.next_launches('island', 'launch') AS w ON w.global_tid = i.global_tid AND w.at_ns >= i.at_ns
),
placed AS (
    SELECT i.*, coalesce(r.occurrence_id, n.occurrence_id) AS occurrence_id, n.global_tid IS NOT NULL AS is_launching
    FROM island AS i
    ASOF LEFT JOIN attribute.range_segments AS r ON r.global_tid = i.global_tid AND r.start_ns <= i.start_ns
    LEFT JOIN next_launch AS n ON n.global_tid = i.global_tid AND n.start_ns = i.start_ns
),
of_phase AS (
    SELECT p.phase, i.global_tid, i.start_ns, least(i.end_ns, p.end_ns) AS end_ns
    FROM placed AS i JOIN attribute.occurrences AS p USING (occurrence_id)
    WHERE p.is_measured AND p.start_ns <= i.start_ns AND i.start_ns < p.end_ns
    UNION ALL
    SELECT NULL, global_tid, start_ns, end_ns
    FROM placed
    WHERE occurrence_id IS NULL AND is_launching AND start_ns >= (SELECT min(launch_start_ns) FROM attribute.gpu_work)
),
whole AS (
    SELECT phase, sum(end_ns - start_ns)::BIGINT AS overhead_ns FROM of_phase GROUP BY phase
),
named AS (
    SELECT p.phase, coalesce(n.value, 'something') AS name, sum(o.end_ns - o.start_ns) AS time_ns
    FROM load.profiler_overheads AS o
    ASOF JOIN of_phase AS p ON p.global_tid = o.global_tid AND p.start_ns <= o.start_ns
    LEFT JOIN load.strings AS n ON n.string_id = o.name_id
    WHERE o.start_ns < p.end_ns
    GROUP BY ALL
),
leader AS (
    SELECT phase, arg_max(name, (time_ns, name)) AS name FROM named GROUP BY phase
)
SELECT
    s.phase, least(w.overhead_ns, s.host_ns + s.launch_ns + s.api_ns) AS at_stake_ns, 'host+launch+api' AS budget_part, s.place,
    w.overhead_ns, l.name
FROM attribute.phase_spending AS s
JOIN whole AS w ON w.phase IS NOT DISTINCT FROM s.phase
JOIN leader AS l ON l.phase IS NOT DISTINCT FROM s.phase
WHERE least(w.overhead_ns, s.host_ns + s.launch_ns + s.api_ns) >= greatest(s.least_ns, s.phase_ns / 50)
