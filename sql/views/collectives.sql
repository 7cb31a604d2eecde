-- Communication kernels as parts of collectives: which rank came late, how long the others waited for it, what was transfer.
-- A rank waits from the start of its kernel until the last rank of the collective has started its own.
-- Grain: op_id. No other rank of the collective is in the trace: communicator_id and what follows from it are NULL. Where a rank of
-- the communicator lacks this one, for its recording is shorter, the times from skew_ns to transfer_ns are NULL.
-- requires: attribute.collectives, attribute.occurrences
-- columns:
--   op_id           BIGINT   Joins gpu_work and kernels.
--   name            VARCHAR  Short kernel name.
--   kind            VARCHAR  'all_reduce', 'all_gather', 'reduce_scatter', 'all_to_all', 'broadcast', 'reduce', 'send_recv' (NCCL's
--                            all-to-alls, too: docs/training.md); NULL where the name does not say.
--   phase           VARCHAR  Name of the phase, or NULL.
--   occurrence_id   BIGINT   The occurrence. Joins phases.
--   is_warmup       BOOLEAN  Whether the occurrence is inside warm-up, NULL outside every phase.
--   is_cold         BOOLEAN  Whether the occurrence is cold, NULL outside every phase: see phases.
--   is_measured     BOOLEAN  Whether collective_summary counts it: in no warm-up, no cold occurrence and no cold training step.
--   process_id      BIGINT   Operating-system pid. Joins processes.
--   device_id       BIGINT   GPU. Joins devices.
--   communicator_id BIGINT   The same for the ranks that communicate with each other.
--   number          BIGINT   1, 2, 3, … within the communicator: equal on all of its ranks.
--   rank_count      BIGINT   Ranks of it in the trace.
--   start_ns        BIGINT   Start on this GPU. Unit: ns.
--   end_ns          BIGINT   End on this GPU. Unit: ns.
--   dur_ns          BIGINT   end_ns - start_ns. Unit: ns.
--   skew_ns         BIGINT   From the first rank's start to the last one's. Unit: ns.
--   lateness_ns     BIGINT   From the first rank's start to this one's: 0 for who comes first. Unit: ns.
--   wait_ns         BIGINT   From its start to the last rank's start, at most to its end. Unit: ns.
--   transfer_ns     BIGINT   The rest of its duration. Unit: ns.
--   message_bytes   BIGINT   Message size as NCCL or torch.profiler states it: what a rank sends of an all-gather, receives of a reduce-scatter, holds
--                            of others. NULL where the trace does not hold it: exports need payloads (docs/training.md). Unit: bytes.
--   bus_bytes       DOUBLE   What each rank's link must carry of it, as nccl-tests defines it; NULL unless all ranks of the
--                            communicator are in the trace. Unit: bytes.
SELECT
    c.op_id, c.name, c.kind, p.phase, c.occurrence_id, p.is_warmup, p.is_cold,
    coalesce(p.is_measured, true) AS is_measured, c.process_key & 16777215 AS process_id, c.device_id,
    c.group_id AS communicator_id, c.number, c.rank_count, c.start_ns, c.end_ns, c.end_ns - c.start_ns AS dur_ns,
    c.skew_ns, c.lateness_ns, c.wait_ns, c.transfer_ns, c.message_bytes, c.bus_bytes
FROM attribute.collectives AS c
LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
