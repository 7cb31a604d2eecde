-- Communication kernels as parts of collectives: who came late, how long the others waited for it, and what was transfer.
-- A rank waits from the start of its kernel until the last rank has started its own.
-- Grain: op_id. No other rank of the collective is in the trace: group_id and what follows from it are NULL. Where a rank of the
-- communicator lacks this one, for its recording is shorter, nobody knows who waited: times from skew_ns to transfer_ns are NULL.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication, attribute._collective_lanes, load.nccl_messages, load.torch_messages, macros.collective_kind, macros.bus_bytes
-- columns:
--   op_id         BIGINT   Joins attribute.gpu_work.
--   process_key   BIGINT   Joins load.processes.
--   device_id     BIGINT   Joins load.devices.
--   name          VARCHAR  Short kernel name.
--   kind          VARCHAR  'all_reduce', 'all_gather', …; NULL where the name does not say.
--   group_id      BIGINT   The communicator.
--   number        BIGINT   1, 2, 3, … within the communicator.
--   rank_count    BIGINT   Ranks of it in the trace.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
--   skew_ns       BIGINT   From the first rank's start to the last one's. Unit: ns.
--   lateness_ns   BIGINT   From the first rank's start to this one's. Unit: ns.
--   wait_ns       BIGINT   From its start to the last rank's start, at most to its end. Unit: ns.
--   transfer_ns   BIGINT   The rest of its duration. Unit: ns.
--   communicator  VARCHAR  What names the communicator in the trace, NULL where nothing does and kernels are matched by their order alone.
--   message_bytes BIGINT   Message size as NCCL states it, NULL where the trace does not hold it. Unit: bytes.
--   bus_bytes     DOUBLE   What each rank's link must carry of it, NULL unless all ranks of the communicator are in the trace. Unit: bytes.
--   occurrence_id BIGINT   The phase it belongs to. Joins attribute.phase_ranges, NULL outside every phase.
WITH said AS (
    SELECT
        c.*, coalesce(m.message_bytes, t.message_bytes) AS message_bytes, coalesce(m.rank_count, t.rank_count) AS member_count
    FROM attribute._communication AS c
    LEFT JOIN load.nccl_messages AS m USING (range_id)
    LEFT JOIN load.torch_messages AS t ON t.op_id = c.op_id
),
timed AS (
    SELECT
        c.op_id, c.process_key, c.device_id, c.name, l.group_id, c.number, l.rank_count, c.start_ns, c.end_ns,
        c.occurrence_id, c.communicator, c.message_bytes,
        CASE WHEN l.rank_count = c.member_count AND count(*) OVER same = l.rank_count THEN macros.bus_bytes(macros.collective_kind(c.name), c.message_bytes, c.member_count) END
            AS bus_bytes,
        min(c.start_ns) OVER same AS first_start_ns, max(c.start_ns) OVER same AS last_start_ns,
        -- Nobody knows when one without times began.
        count(*) OVER same = l.rank_count AND bool_and(c.is_placed) OVER same AS is_whole
    FROM said AS c LEFT JOIN attribute._collective_lanes AS l USING (lane)
    WINDOW same AS (PARTITION BY coalesce(l.group_id, -c.op_id), c.number)
)
SELECT
    op_id, process_key, device_id, name, macros.collective_kind(name) AS kind, group_id,
    CASE WHEN group_id IS NOT NULL THEN number END AS number, rank_count, start_ns, end_ns,
    CASE WHEN is_whole THEN last_start_ns - first_start_ns END AS skew_ns,
    CASE WHEN is_whole THEN start_ns - first_start_ns END AS lateness_ns,
    CASE WHEN is_whole THEN least(last_start_ns, end_ns) - start_ns END AS wait_ns,
    CASE WHEN is_whole THEN end_ns - least(last_start_ns, end_ns) END AS transfer_ns, communicator, message_bytes, bus_bytes, occurrence_id
FROM timed
