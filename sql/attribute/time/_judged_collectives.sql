-- Kernels of measured collectives with the rank that comes last, and whether that one can be blamed: what made it late is steady state.
-- Grain: op_id.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NOT NULL
-- requires: attribute._measured_collectives, attribute._collective_gaps
-- columns:
--   op_id         BIGINT  Joins attribute.collectives.
--   phase         VARCHAR Phase of the kernel.
--   group_id      BIGINT  The communicator.
--   number        BIGINT  1, 2, 3, … within the communicator.
--   process_key   BIGINT  Joins load.processes.
--   rank_count    BIGINT  Ranks of the communicator in the trace.
--   wait_ns       BIGINT  From its start to the last rank's start, at most to its end. Unit: ns.
--   is_last       BOOLEAN Whether no other rank starts later.
--   late_key      BIGINT  Process of the rank that starts last; NULL if its kernel is not measured.
--   is_after_cold BOOLEAN Whether warm-up or a cold occurrence lies before it on any rank, since they met.
--   compute_ns    BIGINT  See attribute._collective_gaps; NULL if the ranks have not met before. Unit: ns.
--   data_ns       BIGINT  Likewise. Unit: ns.
--   host_ns       BIGINT  Likewise. Unit: ns.
SELECT
    m.op_id, m.phase, m.group_id, m.number, m.process_key, m.rank_count, m.wait_ns, m.is_last,
    min(CASE WHEN m.is_last THEN m.process_key END) OVER same AS late_key,
    bool_or(coalesce(g.is_after_cold, false)) OVER same AS is_after_cold,
    g.compute_ns, g.data_ns, g.host_ns
FROM attribute._measured_collectives AS m LEFT JOIN attribute._collective_gaps AS g USING (op_id)
WINDOW same AS (PARTITION BY m.group_id, m.number)
