-- Phases whose GPU is idle while the host runs code outside every CUDA call.
-- A quarter of a phase's time: with less of it, curing all of it makes the phase less than a third faster.
-- Algorithm: what to cure is where the time is. Uneven: half of four steps or more have nine tenths of it. Between: half of it lies
-- before the range of the step whose first work ends the gap, whatever part of that the classes `sync` and `api` may have.
-- GPUs that take turns wait for each other: gpus_take_turns.
-- Grain: phase.
-- severity: info
-- message: in {place} the GPU is idle while the host runs its own code{told}
-- hint: {cure}; the class `host` of `time_budget` shows the effect
-- empty without: attribute.phase_spending WHERE host_ns >= phase_ns / 4 AND host_ns >= least_ns
-- requires: attribute.phase_spending, attribute.phase_launches, attribute.host_leaders, attribute.occurrence_times, attribute.occurrences, attribute._idle_before_ranges, attribute.turns, attribute.windows
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Time in which the GPU is idle and the host outside every CUDA call. Unit: ns.
--   budget_part VARCHAR 'host'.
--   place       VARCHAR The phase in a sentence.
--   cure        VARCHAR What helps mostly.
--   told        VARCHAR The steps that have most of it, if they are few; or what lies between the ranges of steps; or launching
--                       calls of an occurrence, on average, and the host's time for each, of which all GPUs wait; then the functions that samples of
--                       Python's stacks are in; '' if there are none.
WITH bound AS (
    SELECT s.*
    FROM attribute.phase_spending AS s ANTI JOIN attribute.turns AS t ON t.phase IS NOT DISTINCT FROM s.phase
    WHERE s.host_ns >= s.phase_ns / 4 AND s.host_ns >= s.least_ns
),
step AS (
    SELECT p.phase, p.process_key, t.occurrence_id, coalesce(sum(t.time_ns) FILTER (WHERE t.class = 'host'), 0) AS time_ns
    FROM attribute.occurrence_times AS t JOIN attribute.occurrences AS p USING (occurrence_id)
    GROUP BY p.phase, p.process_key, t.occurrence_id
),
ranked AS (
    SELECT
        *, sum(time_ns) OVER (PARTITION BY phase, process_key) AS process_ns,
        sum(time_ns) OVER (PARTITION BY phase, process_key ORDER BY time_ns DESC, occurrence_id ROWS UNBOUNDED PRECEDING) - time_ns AS before_ns
    FROM step
),
-- The fewest steps with nine tenths of the time, in the process with most of it: other ranks may only wait.
leader AS (
    SELECT phase, arg_max(most, (most.process_ns, process_key)) AS most, count(*) AS process_count
    FROM (
        SELECT
            phase, process_key,
            {
                'process_ns': process_ns, 'step_count': count(*), 'slow_count': count(*) FILTER (WHERE 10 * before_ns < 9 * process_ns),
                'slow_ns': sum(time_ns) FILTER (WHERE 10 * before_ns < 9 * process_ns)
            } AS most
        FROM ranked
        GROUP BY phase, process_key, process_ns
    )
    GROUP BY phase
),
uneven AS (
    SELECT phase, most.slow_count AS slow_count, most.slow_ns AS time_ns, most.step_count AS step_count, process_count > 1 AS is_one_of_several
    FROM leader
    WHERE most.step_count >= 4 AND 2 * most.slow_count <= most.step_count
),
between_steps AS (
    SELECT
        b.phase, least(sum(g.end_ns - greatest(g.start_ns, w.start_ns)) - b.sync_ns - b.api_ns, b.host_ns)::BIGINT AS time_ns
    FROM attribute._idle_before_ranges AS g
    ASOF JOIN attribute.windows AS w ON w.device_id = g.device_id AND w.start_ns < g.end_ns
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN bound AS b USING (phase)
    WHERE p.is_measured AND g.end_ns <= w.end_ns
    GROUP BY b.phase, b.sync_ns, b.api_ns, b.host_ns
    HAVING 2 * time_ns >= b.host_ns
)
SELECT
    s.phase, s.host_ns AS at_stake_ns, 'host' AS budget_part, s.place,
    CASE
        WHEN u.slow_count > 0
            THEN 'see what those do and the others do not, such as the first run of a shape, garbage collection, reading data '
                || '(`occurrence_budget` has the time of each)'
        -- Between phases.
        WHEN b.phase IS NOT NULL OR (s.phase IS NULL AND s.phase_ns < s.all_ns)
            THEN 'look at what the program does there, such as sampling, tokenizing or reading data, and do it while the GPU runs'
        WHEN l.uses_graphs
            THEN 'CUDA graphs launch the work already: prepare the next step, and read results, while the GPU runs'
        ELSE 'CUDA graphs or torch.compile launch the same kernels with less host code (`capture --cuda-graphs`, `--compile`)'
    END AS cure,
    CASE
        WHEN u.slow_count > 0 THEN format(': {:.0f} % of it in {:,} of {:,} steps', 100 * u.time_ns / s.host_ns, u.slow_count, u.step_count)
            || CASE WHEN u.is_one_of_several THEN ' of one process' ELSE '' END
        WHEN b.phase IS NOT NULL THEN format(', {:,.1f} ms of it or more before the range of a step begins', b.time_ns / 1e6)
        WHEN l.per_step > 0
            THEN format(': {:,} launches a step, and {:,.1f} µs of host code for each',
                ceil(l.per_step)::BIGINT, s.host_ns / (l.call_count * l.gpu_count) / 1e3)
        ELSE ''
    END || coalesce('; Python spends ' || t.told, '') AS told
FROM bound AS s
LEFT JOIN uneven AS u ON u.phase = s.phase
LEFT JOIN between_steps AS b ON b.phase = s.phase
LEFT JOIN attribute.phase_launches AS l ON l.phase = s.phase
LEFT JOIN attribute.host_leaders AS t ON t.phase IS NOT DISTINCT FROM s.phase AND t.part = 'host'
