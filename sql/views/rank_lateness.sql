-- How long the other ranks wait for each rank in the collectives of each phase, and why: what the table of ranks and late_rank tell.
-- Warm-up, cold occurrences and cold training steps are left out.
-- Grain: process_id, host_id, phase; ranks for which nobody waits are absent.
-- empty without: attribute.phase_lateness
-- requires: attribute.phase_lateness, load.ranks
-- columns:
--   rank        BIGINT  Rank, NULL where neither a run mark nor the file's name says.
--   process_id  BIGINT  Operating-system pid. Joins processes.
--   host_id     BIGINT  Host: 0 is the first one.
--   phase       VARCHAR Phase of the kernels that wait.
--   blamed_ns   BIGINT  Time that the others wait in collectives to which it comes last, added up over them. Unit: ns.
--   wait_ns     BIGINT  The same without collectives behind a cold step, for which nobody is blamed: what made the last rank late
--                       is no steady state. The columns below are of these. Unit: ns.
--   late_count  BIGINT  Collectives to which it comes last.
--   collectives BIGINT  Collectives of the phase.
--   each_ns     BIGINT  Time that a mean one of the others waits for it. Unit: ns.
--   steps       BIGINT  Steps of step_ns, added up over the other ranks.
--   step_ns     BIGINT  Mean time that one of the others waits for it in a training step, without training in an occurrence of the
--                       phase. Steps with a collective behind a cold step or without a partner are left out. Unit: ns.
--   is_late     BOOLEAN Whether the others wait for it: see docs/training.md.
--   reason      VARCHAR What its GPU has more of than those of the others before these collectives: 'compute', 'data' or 'host'; NULL if
--                       nothing explains half of each_ns.
--   more_ns     BIGINT  What of each_ns it explains, NULL without a reason. Unit: ns.
SELECT
    r.rank, l.process_key & 16777215 AS process_id, r.host_id, l.phase, l.blamed_ns, l.wait_ns, l.late_count, l.collectives, l.each_ns,
    l.steps, l.step_ns, l.is_late, l.reason, CASE WHEN l.reason IS NOT NULL THEN l.more_ns END AS more_ns
FROM attribute.phase_lateness AS l JOIN load.ranks AS r USING (process_key)
