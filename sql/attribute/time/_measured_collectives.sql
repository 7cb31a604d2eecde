-- Kernels of collectives of which every rank of the communicator in the trace has its own, in measured phases: warm-up, cold occurrences
-- and cold training steps are left out.
-- Grain: op_id.
-- empty without: attribute.collectives
-- requires: attribute.collectives, attribute.occurrences
-- columns:
--   op_id       BIGINT  Joins attribute.collectives.
--   phase       VARCHAR Name of the phase.
--   kind        VARCHAR 'all_reduce', 'all_gather', …; NULL where the name does not say.
--   group_id    BIGINT  The communicator.
--   number      BIGINT  1, 2, 3, … within the communicator.
--   process_key BIGINT  Joins load.processes.
--   rank_count  BIGINT  Ranks of the communicator in the trace.
--   wait_ns     BIGINT  From its start to the last rank's start, at most to its end. Unit: ns.
--   transfer_ns BIGINT  The rest of its duration. Unit: ns.
--   is_last     BOOLEAN Whether no other rank starts later.
SELECT
    c.op_id, p.phase, c.kind, c.group_id, c.number, c.process_key, c.rank_count, c.wait_ns, c.transfer_ns,
    c.lateness_ns = c.skew_ns AS is_last
FROM attribute.collectives AS c
JOIN attribute.occurrences AS p USING (occurrence_id)
WHERE c.wait_ns IS NOT NULL AND p.is_measured
