-- Copies and fills that start while the one before them in their stream runs, and end behind it. A stream runs one after the other, so
-- that they waited: their starts are those of their submission, as some versions of ROCm write them. More than 2 µs each, and a
-- twentieth of the time of all.
-- Algorithm: what a copy has of its own begins when all that started before it in its stream has ended. Nodes of graphs are left out, whose
-- branches share a stream, and copies of one call, which may run side by side.
-- Grain: one row, none where there is no such copy.
-- severity: warning
-- message: {copy_count:,} copies or fills started while the one before them in their stream ran: {waited_ns:ms} of the {memop_ns:ms} that copies and
--   fills take were waiting, unless the process has several CUDA contexts
-- hint: times and bandwidths of copies hold that; busy time counts each instant once, and may hold idle time as copies: record with a newer profiler
-- concerns: load.gpu_ops
-- empty without: load.gpu_ops WHERE kind = 'memcpy'
-- requires: load.gpu_ops
-- columns:
--   phase       VARCHAR NULL: nobody looked which phase they are of.
--   at_stake_ns BIGINT  Time in which they waited, as far as it can be seen. Unit: ns.
--   copy_count  BIGINT  Such copies and fills.
--   waited_ns   BIGINT  The same as at_stake_ns. Unit: ns.
--   memop_ns    BIGINT  Time of all copies and fills, added up. Unit: ns.
WITH swept AS (
    SELECT
        start_ns, end_ns, graph_node_id,
        max(end_ns) OVER (
            PARTITION BY process_key, device_id, stream_id ORDER BY start_ns, op_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reach_ns,
        count(*) OVER (PARTITION BY process_key, correlation_id) AS of_call
    FROM load.gpu_ops
    WHERE kind IN ('memcpy', 'memset') AND end_ns > start_ns AND stream_id IS NOT NULL
),
waited AS (
    SELECT
        end_ns - start_ns AS dur_ns,
        CASE WHEN reach_ns - start_ns > 2000 AND reach_ns < end_ns AND of_call = 1 AND graph_node_id IS NULL THEN reach_ns - start_ns END AS waited_ns
    FROM swept
),
summed AS (
    SELECT count(waited_ns)::BIGINT AS copy_count, sum(waited_ns)::BIGINT AS waited_ns, sum(dur_ns)::BIGINT AS memop_ns FROM waited
)
SELECT NULL::VARCHAR AS phase, waited_ns AS at_stake_ns, copy_count, waited_ns, memop_ns
FROM summed
WHERE 20 * waited_ns >= memop_ns
