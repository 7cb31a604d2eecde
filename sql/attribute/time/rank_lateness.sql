-- How long the other ranks wait for each rank in collectives, whether it is late, and why: see attribute._late_collectives.
-- Warm-up and cold occurrences are left out; is_late and the reason do not look at the collectives behind them either.
-- Grain: process_key; ranks for which nobody waits are absent.
-- materialize: table
-- empty without: attribute._late_collectives
-- requires: attribute._late_collectives
-- columns:
--   process_key BIGINT  Joins load.ranks.
--   blamed_ns   BIGINT  Time that other ranks waited in collectives to which this one came last. Unit: ns.
--   is_late     BOOLEAN Whether that is a millisecond at least, and far more than its share of all waiting: half of it and one
--                       and a half times the share; or more than the share, if its reason has explained more than the same explains of
--                       the others' lateness on average, by two fifths of the time.
--   more_ns     BIGINT  What of the time that a mean one of the others waits the reason explains. Unit: ns.
--   reason      VARCHAR What explains most of it: 'compute', 'data' or 'host'; NULL if that is less than half.
WITH blamed AS (
    SELECT
        process_key, sum(wait_ns)::BIGINT AS blamed_ns, coalesce(sum(wait_ns) FILTER (NOT is_after_cold), 0) AS steady_ns,
        sum(each_ns) FILTER (NOT is_after_cold) AS each_ns, max(rank_count) AS rank_count,
        coalesce(sum(compute_ns) FILTER (NOT is_after_cold), 0) AS compute_ns, coalesce(sum(data_ns) FILTER (NOT is_after_cold), 0) AS data_ns,
        coalesce(sum(host_ns) FILTER (NOT is_after_cold), 0) AS host_ns
    FROM attribute._late_collectives
    GROUP BY process_key
),
total AS (
    SELECT
        sum(steady_ns) AS steady_ns, max(rank_count) AS ranks, sum(compute_ns) AS compute_ns, sum(data_ns) AS data_ns, sum(host_ns) AS host_ns
    FROM blamed
),
weighed AS (
    SELECT
        b.*, b.steady_ns / nullif(t.steady_ns, 0) AS share, 1 / t.ranks AS fair_share,
        greatest(b.compute_ns, b.data_ns, b.host_ns) AS more_ns,
        greatest(
            b.compute_ns - (t.compute_ns - b.compute_ns) / nullif(t.ranks - 1, 0), b.data_ns - (t.data_ns - b.data_ns) / nullif(t.ranks - 1, 0),
            b.host_ns - (t.host_ns - b.host_ns) / nullif(t.ranks - 1, 0)
        ) AS beyond_ns
    FROM blamed AS b CROSS JOIN total AS t
)
SELECT
    process_key, blamed_ns,
    coalesce(
        steady_ns >= 1000000
        AND (share >= greatest(0.5, 1.5 * fair_share) OR (share > fair_share AND beyond_ns >= 0.4 * steady_ns)),
        false
    ) AS is_late,
    more_ns::BIGINT AS more_ns,
    CASE
        WHEN more_ns <= 0 OR coalesce(2 * more_ns < each_ns, true) THEN NULL
        WHEN compute_ns = more_ns THEN 'compute'
        WHEN data_ns = more_ns THEN 'data'
        ELSE 'host'
    END AS reason
FROM weighed
