-- What torch.profiler says about the message of a kernel of NCCL.
-- Grain: op_id. Sends and receives are absent, and so are several operators at once: their group is not who takes part.
-- materialize: table
-- empty without: nsys.TORCH_COLLECTIVES
-- requires: nsys.TORCH_COLLECTIVES, load.gpu_ops
-- columns:
--   op_id         BIGINT  The kernel. Joins load.gpu_ops.
--   message_bytes BIGINT  Message size, as in load.nccl_messages. Unit: bytes.
--   communicator  VARCHAR The process group: its name and its ranks.
--   rank_count    BIGINT  Ranks of it.
SELECT
    o.op_id, max(c.messageBytes) AS message_bytes, min(c.communicator) AS communicator, max(c.rankCount) AS rank_count
FROM nsys.TORCH_COLLECTIVES AS c
JOIN load.gpu_ops AS o
    ON o.process_key = c.globalPid >> 24 AND o.stream_id = c.streamId AND o.correlation_id = c.correlationId
    AND o.start_ns = c."start" AND o.end_ns = c."end" AND o.kind = 'kernel'
GROUP BY o.op_id
