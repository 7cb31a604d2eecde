-- Phases whose threads did something for nsys itself for a while, by its own account.
-- Grain: phase.
-- severity: info
-- message: in {place} nsys itself takes {overhead_ns:ms} of the host's time, most of it for `{name}`
-- hint: it is no time of the program: run each shape once before you record (`--capture-range profiler`, `--delay`), and see what
--   tracing costs in all with `capture --baseline`
-- empty without: load.profiler_overheads
-- requires: attribute.phase_spending, attribute.occurrences, attribute.range_segments, load.profiler_overheads, load.strings, macros.islands
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  That time, at most what the GPU is idle for the host. Unit: ns.
--   budget_part VARCHAR 'host+launch+api'.
--   place       VARCHAR The phase in a sentence.
--   overhead_ns BIGINT  Time of nsys on the phase's threads. Unit: ns.
--   name        VARCHAR What took most of it.
WITH overhead AS (
    SELECT global_tid AS group_id, start_ns, end_ns FROM load.profiler_overheads
),
whole AS (
    SELECT p.phase, sum(least(i.end_ns, p.end_ns) - i.start_ns)::BIGINT AS overhead_ns
    FROM macros.islands('overhead') AS i
    ASOF JOIN attribute.range_segments AS r ON r.global_tid = i.group_id AND r.start_ns <= i.start_ns
    JOIN attribute.occurrences AS p ON p.occurrence_id = r.occurrence_id
    WHERE p.is_measured
    GROUP BY p.phase
),
named AS (
    SELECT p.phase, coalesce(n.value, 'something') AS name, sum(o.end_ns - o.start_ns) AS time_ns
    FROM load.profiler_overheads AS o
    ASOF JOIN attribute.range_segments AS r ON r.global_tid = o.global_tid AND r.start_ns <= o.start_ns
    JOIN attribute.occurrences AS p ON p.occurrence_id = r.occurrence_id
    LEFT JOIN load.strings AS n ON n.string_id = o.name_id
    WHERE p.is_measured
    GROUP BY ALL
),
leader AS (
    SELECT phase, arg_max(name, (time_ns, name)) AS name FROM named GROUP BY phase
)
SELECT
    s.phase, least(w.overhead_ns, s.host_ns + s.launch_ns + s.api_ns) AS at_stake_ns, 'host+launch+api' AS budget_part, s.place,
    w.overhead_ns, l.name
FROM attribute.phase_spending AS s
JOIN whole AS w ON w.phase = s.phase
JOIN leader AS l ON l.phase = s.phase
WHERE least(w.overhead_ns, s.host_ns + s.launch_ns + s.api_ns) >= greatest(s.least_ns, s.phase_ns / 50)
