-- How long the other ranks wait for each rank in the collectives of a phase, and what it does before those to which it comes last.
-- Algorithm: since the ranks last met, the late one's GPU has had more of something than those of the others on average: compute
-- (kernels), data (idle before the first pass of a training step), host (other idle time). Each explains at most as much as a mean one of
-- the others waits in the collective, for one delay may make a rank late to several. Collectives before which warm-up or a cold occurrence
-- lies are left out: what made their last rank late is no steady state.
-- Grain: phase, process_key; ranks for which nobody waits are absent.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NOT NULL
-- requires: attribute._measured_collectives, attribute._collective_gaps
-- columns:
--   phase       VARCHAR Phase of the kernels that wait.
--   process_key BIGINT  The late rank. Joins load.ranks.
--   late_count  BIGINT  Collectives of the phase to which it comes last.
--   collectives BIGINT  Collectives of the phase.
--   rank_count  BIGINT  Ranks of the largest communicator.
--   wait_ns     BIGINT  Time that the others wait for it, added up over them. Unit: ns.
--   total_ns    BIGINT  The same for all ranks. Unit: ns.
--   each_ns     BIGINT  Time that a mean one of the others waits for it. Unit: ns.
--   more_ns     BIGINT  What of each_ns the reason explains. Unit: ns.
--   reason      VARCHAR What explains most of it: 'compute', 'data' or 'host'; NULL if that is less than half.
WITH judged AS (
    SELECT
        m.*, g.compute_ns, g.data_ns, g.host_ns,
        bool_or(coalesce(g.is_after_cold, false)) OVER (PARTITION BY m.group_id, m.number) AS is_after_cold
    FROM attribute._measured_collectives AS m LEFT JOIN attribute._collective_gaps AS g USING (op_id)
),
-- A rank may be in another phase when it comes.
compared AS (
    SELECT
        group_id, number, any_value(rank_count) AS rank_count, min(process_key) FILTER (is_last) AS process_key,
        avg(wait_ns) FILTER (NOT is_last) AS each_ns,
        avg(compute_ns) FILTER (is_last) - avg(compute_ns) FILTER (NOT is_last) AS compute_ns,
        avg(data_ns) FILTER (is_last) - avg(data_ns) FILTER (NOT is_last) AS data_ns,
        avg(host_ns) FILTER (is_last) - avg(host_ns) FILTER (NOT is_last) AS host_ns
    FROM judged
    WHERE NOT is_after_cold
    GROUP BY group_id, number
),
waited AS (
    SELECT phase, group_id, number, sum(wait_ns) AS wait_ns FROM judged WHERE NOT is_after_cold GROUP BY phase, group_id, number
),
explained AS (
    SELECT
        w.phase, c.process_key, w.wait_ns, c.each_ns, least(greatest(0, c.compute_ns), c.each_ns) AS compute_ns,
        least(greatest(0, c.data_ns), c.each_ns) AS data_ns, least(greatest(0, c.host_ns), c.each_ns) AS host_ns
    FROM waited AS w JOIN compared AS c USING (group_id, number)
    WHERE c.process_key IS NOT NULL
),
-- Means are added up in order of size, so that two runs agree to the bit.
late AS (
    SELECT
        phase, process_key, count(*) AS late_count, sum(wait_ns) AS wait_ns, sum(each_ns ORDER BY each_ns) AS each_ns,
        sum(compute_ns ORDER BY compute_ns) AS compute_ns, sum(data_ns ORDER BY data_ns) AS data_ns,
        sum(host_ns ORDER BY host_ns) AS host_ns
    FROM explained
    GROUP BY phase, process_key
),
total AS (
    SELECT w.phase, count(*) AS collectives, max(c.rank_count) AS rank_count, sum(w.wait_ns) AS total_ns
    FROM waited AS w JOIN compared AS c USING (group_id, number)
    GROUP BY w.phase
),
weighed AS (
    SELECT *, greatest(compute_ns, data_ns, host_ns) AS more_ns FROM late
)
SELECT
    w.phase, w.process_key, w.late_count, t.collectives, t.rank_count, w.wait_ns::BIGINT AS wait_ns, t.total_ns::BIGINT AS total_ns,
    w.each_ns::BIGINT AS each_ns, w.more_ns::BIGINT AS more_ns,
    CASE
        WHEN coalesce(w.more_ns <= 0 OR 2 * w.more_ns < w.each_ns, true) THEN NULL
        WHEN w.compute_ns = w.more_ns THEN 'compute'
        WHEN w.data_ns = w.more_ns THEN 'data'
        ELSE 'host'
    END AS reason
FROM weighed AS w JOIN total AS t ON t.phase = w.phase
