-- Kernels that start and end while one of the twenty longest runs, in its stream: a stream runs one after the other, so that
-- the times of the longer one are wrong, or, if they are the same, it was recorded twice. (Streams of two contexts may have one
-- number, and kernels do not say whose they are.)
-- Nodes of graphs are left out, whose branches share a stream.
-- Grain: one row, none where there is no such kernel.
-- severity: warning
-- message: {inner_count:,} kernels ran inside another kernel of their stream: unless the process has several CUDA contexts, the times
--   of {outer_count:,} kernels are wrong or recorded twice, of which the longest takes {longest_ns:ms}; they count as they are
-- hint: sums, busy time and shares of kernels with these hold time in which they did not run: record again, or cut it away with --from and --to
-- concerns: load.gpu_ops
-- empty without: attribute._overlapping_ops
-- requires: load.gpu_ops, attribute._overlapping_ops
-- columns:
--   phase       VARCHAR NULL: nobody looked which phase they are of.
--   at_stake_ns BIGINT  What these kernels take after the first one inside them started. Unit: ns.
--   outer_count BIGINT  Kernels with others inside, of the twenty longest.
--   inner_count BIGINT  Kernels inside those.
--   longest_ns  BIGINT  Duration of the longest with others inside. Unit: ns.
WITH long AS (
    SELECT op_id, process_key, device_id, stream_id, start_ns, end_ns
    FROM load.gpu_ops
    WHERE kind = 'kernel' AND graph_node_id IS NULL
    ORDER BY end_ns - start_ns DESC, op_id
    LIMIT 20
),
-- Most traces have none, and are read no further then.
longest AS (
    FROM long SEMI JOIN attribute._overlapping_ops USING (op_id)
),
overlap AS (
    SELECT o.op_id, o.start_ns, o.end_ns, count(*) AS inner_count, min(i.start_ns) AS inner_start_ns
    FROM load.gpu_ops AS i
    JOIN longest AS o
        ON o.process_key IS NOT DISTINCT FROM i.process_key AND o.device_id = i.device_id AND o.stream_id = i.stream_id
        AND (
            (o.start_ns < i.start_ns AND i.end_ns < o.end_ns)
            OR (o.start_ns = i.start_ns AND i.end_ns = o.end_ns AND o.op_id < i.op_id)
        )
    -- Kernels that kernels launch run inside those, and have no correlation id.
    WHERE i.kind = 'kernel' AND i.graph_node_id IS NULL AND i.correlation_id IS NOT NULL AND i.start_ns < i.end_ns
    GROUP BY o.op_id, o.start_ns, o.end_ns
)
SELECT
    NULL::VARCHAR AS phase, sum(end_ns - inner_start_ns)::BIGINT AS at_stake_ns, count(*) AS outer_count,
    sum(inner_count)::BIGINT AS inner_count, max(end_ns - start_ns) AS longest_ns
FROM overlap
HAVING count(*) > 0
