-- How long the other ranks wait for each rank in the collectives of a phase, and why it comes late to those: see
-- attribute._late_collectives. Collectives before which warm-up or a cold occurrence lies are left out.
-- Grain: phase, process_key; ranks for which nobody waits are absent.
-- materialize: table
-- empty without: attribute._late_collectives
-- requires: attribute._measured_collectives, attribute._late_collectives
-- columns:
--   phase       VARCHAR Phase of the kernels that wait: the late rank may be in another when it comes.
--   process_key BIGINT  The late rank. Joins load.ranks.
--   late_count  BIGINT  Collectives of the phase to which it comes last.
--   collectives BIGINT  Collectives of the phase.
--   rank_count  BIGINT  Ranks of the largest communicator.
--   wait_ns     BIGINT  Time that the others wait for it, added up over them. Unit: ns.
--   total_ns    BIGINT  The same for all ranks. Unit: ns.
--   more_ns     BIGINT  What of the time that a mean one of the others waits the reason explains. Unit: ns.
--   reason      VARCHAR What explains most of it: 'compute', 'data' or 'host'; NULL if that is less than half.
WITH waited AS (
    SELECT phase, group_id, number, sum(wait_ns) AS wait_ns FROM attribute._measured_collectives GROUP BY phase, group_id, number
),
steady AS (
    SELECT w.phase, w.wait_ns AS phase_wait_ns, c.* EXCLUDE (wait_ns)
    FROM waited AS w JOIN attribute._late_collectives AS c USING (group_id, number)
    WHERE NOT c.is_after_cold
),
late AS (
    SELECT
        phase, process_key, count(*) AS late_count, sum(phase_wait_ns) AS wait_ns, sum(each_ns) AS each_ns, sum(compute_ns) AS compute_ns,
        sum(data_ns) AS data_ns, greatest(sum(compute_ns), sum(data_ns), sum(host_ns)) AS more_ns
    FROM steady
    GROUP BY phase, process_key
),
total AS (
    SELECT phase, count(*) AS collectives, max(rank_count) AS rank_count, sum(phase_wait_ns) AS total_ns FROM steady GROUP BY phase
)
SELECT
    l.phase, l.process_key, l.late_count, t.collectives, t.rank_count, l.wait_ns::BIGINT AS wait_ns, t.total_ns::BIGINT AS total_ns,
    l.more_ns::BIGINT AS more_ns,
    CASE
        WHEN l.more_ns <= 0 OR 2 * l.more_ns < l.each_ns THEN NULL
        WHEN l.compute_ns = l.more_ns THEN 'compute'
        WHEN l.data_ns = l.more_ns THEN 'data'
        ELSE 'host'
    END AS reason
FROM late AS l JOIN total AS t ON t.phase = l.phase
