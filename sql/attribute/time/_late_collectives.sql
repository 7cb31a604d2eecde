-- Collectives with the rank that comes last, how long the others wait for it, and what explains that.
-- Algorithm: since the ranks last met, the late one's GPU has had more of something than those of the others on average: compute
-- (kernels), data (idle before the first pass of a training step), host (other idle time). Each explains at most as much as a mean one of
-- the others waits, for one delay may make a rank late to several collectives.
-- Grain: group_id, number; collectives whose last rank is not measured there are absent.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NOT NULL
-- requires: attribute._measured_collectives, attribute._collective_gaps
-- columns:
--   group_id      BIGINT  The communicator.
--   number        BIGINT  1, 2, 3, … within it.
--   rank_count    BIGINT  Ranks of it in the trace.
--   process_key   BIGINT  The late rank. Joins load.ranks.
--   is_after_cold BOOLEAN Whether warm-up or a cold occurrence lies before it on any rank: what made its last rank late is no steady state.
--   wait_ns       BIGINT  Time that the others wait, added up over them. Unit: ns.
--   each_ns       DOUBLE  Time that a mean one of the others waits. Unit: ns.
--   compute_ns    DOUBLE  What of it kernels explain; 0 where the ranks have not met before. Unit: ns.
--   data_ns       DOUBLE  The same of data. Unit: ns.
--   host_ns       DOUBLE  The same of the host. Unit: ns.
WITH compared AS (
    SELECT
        m.group_id, m.number, any_value(m.rank_count) AS rank_count, min(m.process_key) FILTER (m.is_last) AS process_key,
        bool_or(coalesce(g.is_after_cold, false)) AS is_after_cold, sum(m.wait_ns) AS wait_ns,
        coalesce(avg(m.wait_ns) FILTER (NOT m.is_last), 0) AS each_ns,
        avg(g.compute_ns) FILTER (m.is_last) - avg(g.compute_ns) FILTER (NOT m.is_last) AS compute_ns,
        avg(g.data_ns) FILTER (m.is_last) - avg(g.data_ns) FILTER (NOT m.is_last) AS data_ns,
        avg(g.host_ns) FILTER (m.is_last) - avg(g.host_ns) FILTER (NOT m.is_last) AS host_ns
    FROM attribute._measured_collectives AS m LEFT JOIN attribute._collective_gaps AS g USING (op_id)
    GROUP BY m.group_id, m.number
)
SELECT
    group_id, number, rank_count, process_key, is_after_cold, wait_ns::BIGINT AS wait_ns, each_ns,
    coalesce(least(greatest(0, compute_ns), each_ns), 0) AS compute_ns, coalesce(least(greatest(0, data_ns), each_ns), 0) AS data_ns,
    coalesce(least(greatest(0, host_ns), each_ns), 0) AS host_ns
FROM compared
WHERE process_key IS NOT NULL
