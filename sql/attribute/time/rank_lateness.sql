-- How long the other ranks wait for each rank in collectives, and what it has more of than they do before it comes.
-- Algorithm: a rank is late for one of three reasons, in the time that its GPU has more of than those of the others on
-- average: compute (kernels), data (before the first pass of a training step), host (all other idle time). Warm-up and cold
-- occurrences are left out (is_late does not look at the first collective after them either), and what a rank has before the first step or after the last one that all ranks have: some recordings are
-- shorter than others.
-- Grain: process_key; ranks that share a GPU with others are left out.
-- materialize: table
-- requires: attribute._collective_gaps, attribute._measured_collectives, attribute.job_steps, attribute.occurrences, attribute.training_step_spans, attribute.occurrence_times, attribute._lone_devices
-- columns:
--   process_key BIGINT  Joins load.ranks.
--   blamed_ns   BIGINT  Time that other ranks waited in collectives to which this one came last. Unit: ns.
--   is_late     BOOLEAN Whether that is a millisecond at least, and far more than its share of all waiting: half of it and one
--                       and a half times the share; or more than the share, if a reason has at least half of the time.
--   compute_more_ns BIGINT  Kernel time beyond the mean of the other ranks. Unit: ns.
--   data_more_ns    BIGINT  The same of the time before the first passes of training steps. Unit: ns.
--   host_more_ns    BIGINT  The same of other time in which the GPU is idle. Unit: ns.
--   more_ns         BIGINT  The largest of the three. Unit: ns.
--   reason          VARCHAR Which one that is, 'compute', 'data' or 'host'; NULL if it is less than a tenth of the time that each
--                           of the others waits for this rank.
WITH collective AS (
    SELECT
        m.group_id, m.number, sum(m.wait_ns) AS wait_ns, min(m.process_key) FILTER (m.is_last) AS process_key,
        bool_or(coalesce(g.is_after_cold, false)) AS is_after_cold
    FROM attribute._measured_collectives AS m LEFT JOIN attribute._collective_gaps AS g USING (op_id)
    GROUP BY m.group_id, m.number
),
blamed AS (
    SELECT
        process_key, sum(wait_ns)::BIGINT AS blamed_ns, coalesce(sum(wait_ns) FILTER (NOT is_after_cold), 0)::BIGINT AS steady_ns
    FROM collective
    WHERE process_key IS NOT NULL
    GROUP BY process_key
),
-- From the first to the last step that all ranks have; all of its time for a rank without such steps.
common AS (
    SELECT p.process_key, min(p.start_ns) AS first_ns, max(p.start_ns) AS last_ns
    FROM attribute.job_steps AS j
    JOIN attribute.occurrences AS p USING (occurrence_id)
    SEMI JOIN (
        SELECT j.step_name
        FROM attribute.job_steps AS j
        JOIN attribute.occurrences AS p USING (occurrence_id)
        SEMI JOIN attribute._lone_devices AS a ON a.process_key = p.process_key
        GROUP BY j.step_name
        HAVING count(DISTINCT p.process_key) = (SELECT count(DISTINCT process_key) FROM attribute._lone_devices)
    ) AS s ON s.step_name = j.step_name
    GROUP BY p.process_key
),
spent AS (
    SELECT
        a.process_key,
        coalesce(sum(t.time_ns) FILTER (t.class = 'compute'), 0) AS compute_ns,
        coalesce(sum(t.time_ns) FILTER (t.class IN ('launch', 'latency', 'sync', 'api', 'host')), 0) AS idle_ns
    FROM attribute.occurrence_times AS t
    JOIN attribute._lone_devices AS a USING (device_id)
    JOIN attribute.occurrences AS p ON p.occurrence_id = t.occurrence_id
    LEFT JOIN common AS c ON c.process_key = p.process_key
    WHERE NOT p.is_left_cold AND (c.process_key IS NULL OR p.start_ns BETWEEN c.first_ns AND c.last_ns)
    GROUP BY a.process_key
),
fed AS (
    SELECT s.process_key, sum(s.first_pass_ns - s.start_ns) AS data_ns
    FROM attribute.training_step_spans AS s
    LEFT JOIN common AS c USING (process_key)
    WHERE NOT s.is_left_cold AND NOT s.is_warmup
        AND (c.process_key IS NULL OR s.first_pass_ns BETWEEN c.first_ns AND c.last_ns)
    GROUP BY s.process_key
),
had AS (
    SELECT
        s.process_key, coalesce(b.blamed_ns, 0) AS blamed_ns, coalesce(b.steady_ns, 0) AS steady_ns, s.compute_ns, coalesce(f.data_ns, 0) AS data_ns,
        greatest(0, s.idle_ns - coalesce(f.data_ns, 0)) AS host_ns
    FROM spent AS s LEFT JOIN blamed AS b USING (process_key) LEFT JOIN fed AS f USING (process_key)
),
total AS (
    SELECT
        sum(steady_ns) AS wait_ns, count(*) AS ranks, sum(compute_ns) AS compute_ns, sum(data_ns) AS data_ns,
        sum(host_ns) AS host_ns
    FROM had
),
compared AS (
    SELECT
        h.process_key, h.blamed_ns, h.steady_ns, h.steady_ns / nullif(t.wait_ns, 0) AS share, 1 / t.ranks AS fair_share,
        h.steady_ns / nullif(t.ranks - 1, 0) AS each_ns,
        (h.compute_ns - (t.compute_ns - h.compute_ns) / nullif(t.ranks - 1, 0))::BIGINT AS compute_more_ns,
        (h.data_ns - (t.data_ns - h.data_ns) / nullif(t.ranks - 1, 0))::BIGINT AS data_more_ns,
        (h.host_ns - (t.host_ns - h.host_ns) / nullif(t.ranks - 1, 0))::BIGINT AS host_more_ns
    FROM had AS h CROSS JOIN total AS t
),
weighed AS (
    SELECT *, greatest(compute_more_ns, data_more_ns, host_more_ns) AS more_ns FROM compared
)
SELECT
    process_key, blamed_ns,
    coalesce(
        steady_ns >= 1000000
        AND (share >= greatest(0.5, 1.5 * fair_share) OR (share > fair_share AND more_ns >= 0.5 * steady_ns)),
        false
    ) AS is_late,
    compute_more_ns, data_more_ns, host_more_ns, more_ns,
    CASE
        WHEN more_ns <= 0 OR coalesce(10 * more_ns < each_ns, true) THEN NULL
        WHEN compute_more_ns = more_ns THEN 'compute'
        WHEN data_more_ns = more_ns THEN 'data'
        ELSE 'host'
    END AS reason
FROM weighed
