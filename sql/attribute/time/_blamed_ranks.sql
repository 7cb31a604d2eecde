-- How long the other ranks wait for each rank in the collectives of a phase, and what it does before those to which it comes last.
-- Algorithm: since the ranks last met, the late one's GPU has had more of something than those of the others on average: compute
-- (kernels), data (idle before the first pass of a training step), host (other idle time). Each explains at most as much as a mean one of
-- the others waits in the collective, for one delay may make a rank late to several. GPUs of one process are one rank: what they wait for
-- each other is nobody's. Collectives behind a cold step count in blamed_ns alone: what made their last rank late is no steady state. A
-- rank may be in another phase when it comes.
-- Grain: phase, process_key; ranks for which nobody waits are absent.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NOT NULL
-- requires: attribute._judged_collectives
-- columns:
--   phase       VARCHAR Phase of the kernels that wait.
--   process_key BIGINT  The late rank. Joins load.ranks.
--   late_count  BIGINT  Collectives of the phase to which it comes last.
--   collectives BIGINT  Collectives of the phase.
--   rank_count  BIGINT  Ranks of the largest communicator.
--   blamed_ns   BIGINT  Time that the others wait for it, behind cold steps, too, added up over them. Unit: ns.
--   wait_ns     BIGINT  The same of the collectives of which late_count is. Unit: ns.
--   total_ns    BIGINT  The same for all ranks. Unit: ns.
--   each_ns     DOUBLE  Time that a mean one of the others waits for it. Unit: ns.
--   compute_ns  DOUBLE  What of each_ns its kernel time explains. Unit: ns.
--   data_ns     DOUBLE  What the time before its first passes does. Unit: ns.
--   host_ns     DOUBLE  What its other idle time does. Unit: ns.
WITH judged AS (
    SELECT *, process_key IS DISTINCT FROM late_key AS is_other FROM attribute._judged_collectives
),
compared AS (
    SELECT
        group_id, number, any_value(late_key) AS process_key, any_value(rank_count) AS rank_count, bool_or(is_after_cold) AS is_after_cold,
        coalesce(sum(wait_ns) FILTER (is_other) / nullif(count(*) FILTER (is_other), 0), 0) AS each_ns,
        avg(compute_ns) FILTER (is_last) - avg(compute_ns) FILTER (is_other AND NOT is_last) AS compute_ns,
        avg(data_ns) FILTER (is_last) - avg(data_ns) FILTER (is_other AND NOT is_last) AS data_ns,
        avg(host_ns) FILTER (is_last) - avg(host_ns) FILTER (is_other AND NOT is_last) AS host_ns
    FROM judged
    GROUP BY group_id, number
),
explained AS (
    SELECT
        w.phase, c.process_key, c.rank_count, c.is_after_cold, w.wait_ns, c.each_ns,
        coalesce(least(greatest(0, c.compute_ns), c.each_ns), 0) AS compute_ns,
        coalesce(least(greatest(0, c.data_ns), c.each_ns), 0) AS data_ns,
        coalesce(least(greatest(0, c.host_ns), c.each_ns), 0) AS host_ns
    FROM (
        SELECT phase, group_id, number, coalesce(sum(wait_ns) FILTER (is_other), 0) AS wait_ns FROM judged GROUP BY phase, group_id, number
    ) AS w
    JOIN compared AS c USING (group_id, number)
),
-- Means are added up in order of size, so that two runs agree to the bit.
late AS (
    SELECT
        phase, process_key, count(*) FILTER (NOT is_after_cold) AS late_count, sum(wait_ns)::BIGINT AS blamed_ns,
        coalesce(sum(wait_ns) FILTER (NOT is_after_cold), 0)::BIGINT AS wait_ns,
        coalesce(sum(each_ns ORDER BY each_ns) FILTER (NOT is_after_cold), 0) AS each_ns,
        coalesce(sum(compute_ns ORDER BY compute_ns) FILTER (NOT is_after_cold), 0) AS compute_ns,
        coalesce(sum(data_ns ORDER BY data_ns) FILTER (NOT is_after_cold), 0) AS data_ns,
        coalesce(sum(host_ns ORDER BY host_ns) FILTER (NOT is_after_cold), 0) AS host_ns
    FROM explained
    WHERE process_key IS NOT NULL
    GROUP BY phase, process_key
    HAVING sum(wait_ns) > 0
),
total AS (
    SELECT
        phase, count(*) FILTER (NOT is_after_cold) AS collectives, max(rank_count) AS rank_count,
        coalesce(sum(wait_ns) FILTER (NOT is_after_cold), 0)::BIGINT AS total_ns
    FROM explained
    GROUP BY phase
)
SELECT
    l.phase, l.process_key, l.late_count, t.collectives, t.rank_count, l.blamed_ns, l.wait_ns, t.total_ns, l.each_ns, l.compute_ns,
    l.data_ns, l.host_ns
FROM late AS l JOIN total AS t ON t.phase = l.phase
