-- Whether a rank is late in a phase, what that costs the others, and why: see attribute._blamed_ranks.
-- Algorithm: a rank is late if the others wait for it for a millisecond at least, and that is far more than its share of the phase's
-- waiting: half of it and one and a half times the share. If a reason is known, more than its share is enough for a rank that is late over
-- all phases: by the same rule, or if a reason has two fifths of the time, beyond what it has of the others' when they are late by turns.
-- Grain: phase, process_key; ranks for which nobody waits are absent.
-- materialize: table
-- empty without: attribute._blamed_ranks
-- requires: attribute._blamed_ranks, attribute._step_waits
-- columns:
--   phase       VARCHAR Phase of the kernels that wait.
--   process_key BIGINT  The late rank. Joins load.ranks.
--   late_count  BIGINT  Collectives of the phase to which it comes last.
--   collectives BIGINT  Collectives of the phase.
--   rank_count  BIGINT  Ranks of the largest communicator.
--   blamed_ns   BIGINT  Time that the others wait for it, behind cold steps, too, added up over them. Unit: ns.
--   wait_ns     BIGINT  The same without collectives behind cold steps, as late_count. Unit: ns.
--   total_ns    BIGINT  The same for all ranks. Unit: ns.
--   each_ns     BIGINT  Time that a mean one of the others waits for it. Unit: ns.
--   steps       BIGINT  Steps of step_ns, added up over the others.
--   step_ns     BIGINT  Mean time that one of the others waits for it in a step: see attribute._step_waits. Unit: ns.
--   is_trained  BOOLEAN Whether they are training steps.
--   is_late     BOOLEAN Whether the others wait for it.
--   more_ns     BIGINT  What of each_ns the reason explains. Unit: ns.
--   reason      VARCHAR What explains most of it: 'compute', 'data' or 'host'; NULL if that is less than half.
WITH summed AS (
    SELECT
        *, greatest(compute_ns, data_ns, host_ns) AS more_ns,
        sum(wait_ns) OVER mine AS all_ns, sum(wait_ns) OVER () AS whole_ns, max(rank_count) OVER () AS ranks, sum(each_ns) OVER mine AS all_each_ns,
        sum(compute_ns) OVER mine AS all_compute_ns, sum(data_ns) OVER mine AS all_data_ns, sum(host_ns) OVER mine AS all_host_ns,
        sum(compute_ns) OVER () AS whole_compute_ns, sum(data_ns) OVER () AS whole_data_ns, sum(host_ns) OVER () AS whole_host_ns
    FROM attribute._blamed_ranks
    WINDOW mine AS (PARTITION BY process_key)
),
judged AS (
    SELECT
        *,
        CASE
            WHEN more_ns <= 0 OR 2 * more_ns < each_ns THEN NULL
            WHEN compute_ns = more_ns THEN 'compute'
            WHEN data_ns = more_ns THEN 'data'
            ELSE 'host'
        END AS reason,
        all_ns >= greatest(0.5, 1.5 / ranks) * whole_ns OR (
            all_ns > whole_ns / ranks AND 2.5 * greatest(
                all_compute_ns - (whole_compute_ns - all_compute_ns) / greatest(ranks - 1, 1),
                all_data_ns - (whole_data_ns - all_data_ns) / greatest(ranks - 1, 1),
                all_host_ns - (whole_host_ns - all_host_ns) / greatest(ranks - 1, 1)
            ) >= all_each_ns
        ) AS is_late_in_all
    FROM summed
)
SELECT
    j.phase, j.process_key, j.late_count, j.collectives, j.rank_count, j.blamed_ns, j.wait_ns, j.total_ns, j.each_ns::BIGINT AS each_ns, s.steps,
    s.step_ns, s.is_trained,
    -- Somebody always comes last. It matters if one rank has far more than its share of a time that matters.
    j.wait_ns >= 1000000 AND (
        j.wait_ns >= greatest(0.5, 1.5 / j.rank_count) * j.total_ns
        OR (j.is_late_in_all AND j.reason IS NOT NULL AND j.wait_ns > j.total_ns / j.rank_count)
    ) AS is_late,
    j.more_ns::BIGINT AS more_ns, j.reason
FROM judged AS j LEFT JOIN attribute._step_waits AS s ON s.phase = j.phase AND s.process_key = j.process_key
