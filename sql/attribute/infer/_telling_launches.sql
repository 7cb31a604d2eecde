-- Launches of the work that tells where a pass through a model starts, ends, and what it is, in the order of each thread.
-- Grain: op_id; products, activations and stores are only counted. A row of role 'call' has none.
-- materialize: temporary
-- requires: load.api_calls, attribute._telling_work
-- columns:
--   process_key     BIGINT   Joins load.processes.
--   global_tid      BIGINT   The launching thread. Joins load.threads.
--   launch_start_ns BIGINT   Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT   Return of the launching call. Unit: ns.
--   role            VARCHAR  As in attribute._kernel_roles, or 'graph' (a whole one), 'to_host', 'to_device' (copies), or
--                            'call': the last call, whatever it does, of a thread of autograd before an optimizer kernel.
--   kind_id         BIGINT   Same for the same kernel or graph.
--   is_few          BOOLEAN  As in attribute._kernel_roles.
--   blocks          BIGINT   Blocks of its grid, 0 if that is not known.
--   gemms           BIGINT   Products that its thread launched until then.
--   tile_rows       BIGINT   Sum over these of the column of that name in attribute._kernel_roles.
--   activations     BIGINT   Activations that its thread launched until then.
--   activation_blocks BIGINT Blocks of their grids.
--   stores          BIGINT   Kernels of role 'store' that its thread launched until then.
--   start_ns        BIGINT   Start on the GPU. Unit: ns.
--   op_id           BIGINT   Joins load.gpu_ops, NULL for 'call'.
WITH launch AS MATERIALIZED (
    SELECT
        o.op_id, o.process_key, c.global_tid, c.start_ns AS launch_start_ns,
        greatest(c.start_ns, coalesce(c.end_ns, c.start_ns)) AS launch_end_ns,
        o.start_ns, o.role, o.kind_id, o.is_few, o.tile_rows,
        o.blocks
    FROM attribute._telling_work AS o
    JOIN load.api_calls AS c ON c.correlation_id = o.correlation_id AND c.process_key = o.process_key
    WHERE c.start_ns IS NOT NULL AND c.global_tid IS NOT NULL
),
-- A filtered aggregate over a window takes time that grows with the square of the rows.
counted AS (
    SELECT
        *,
        sum((role = 'gemm')::BIGINT) OVER sofar AS gemms,
        sum(CASE WHEN role = 'gemm' THEN tile_rows ELSE 0 END) OVER sofar AS all_tile_rows,
        sum((role = 'activation')::BIGINT) OVER sofar AS activations,
        sum(CASE WHEN role = 'activation' THEN blocks ELSE 0 END) OVER sofar AS activation_blocks,
        sum((role = 'store')::BIGINT) OVER sofar AS stores
    FROM launch
    WINDOW sofar AS (
        PARTITION BY global_tid ORDER BY launch_start_ns, start_ns, op_id ROWS UNBOUNDED PRECEDING
    )
),
grad_call AS (
    SELECT process_key, global_tid, start_ns, greatest(start_ns, coalesce(end_ns, start_ns)) AS end_ns
    FROM load.api_calls
    WHERE start_ns IS NOT NULL AND global_tid IN (SELECT global_tid FROM launch WHERE role = 'backward')
        AND global_tid NOT IN (SELECT global_tid FROM launch WHERE role = 'optimizer')
),
last_call AS (
    SELECT DISTINCT c.process_key, c.global_tid, c.start_ns, c.end_ns
    FROM launch AS o ASOF JOIN grad_call AS c ON c.process_key = o.process_key AND c.start_ns <= o.launch_start_ns
    WHERE o.role = 'optimizer'
)
SELECT
    process_key, global_tid, launch_start_ns, launch_end_ns, role, kind_id, is_few, blocks, gemms::BIGINT AS gemms,
    all_tile_rows::BIGINT AS tile_rows, activations::BIGINT AS activations, activation_blocks::BIGINT AS activation_blocks,
    stores::BIGINT AS stores, start_ns, op_id
FROM counted
WHERE role NOT IN ('gemm', 'activation', 'store')
    -- Not the copies of a thread that loads data.
    AND global_tid IN (SELECT global_tid FROM launch WHERE role NOT IN ('gemm', 'activation', 'store', 'to_host', 'to_device'))
UNION ALL
SELECT process_key, global_tid, start_ns, end_ns, 'call', NULL, false, 0, 0, 0, 0, 0, 0, NULL, NULL FROM last_call
