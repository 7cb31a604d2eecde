-- Launches of each process in order, of a large trace only the middle ones: what repeats is looked for in them.
-- The middle is told by correlation ids, which count the calls of a process.
-- Grain: op_id and call (`--cudabacktrace` records some twice), of a graph launch the first one; a call that waits has none.
-- materialize: temporary
-- empty without: input.unexplained
-- requires: input.unexplained, load.gpu_ops, load.memop_details, load.api_calls, load.strings, attribute._kernel_roles, attribute._work_kinds
-- columns:
--   process_key     BIGINT   Joins load.processes.
--   global_tid      BIGINT   The launching thread. Joins load.threads.
--   launch_start_ns BIGINT   Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT   Return of the launching call. Unit: ns.
--   role            VARCHAR  'kernel', 'attention' (a kernel, too), 'graph', 'to_host', 'to_device' (copies), 'memory' (other
--                            copies, and fills), or 'sync': a call that waits for the GPU.
--   kind_id         BIGINT   As in attribute._work_kinds, 0 for 'sync'.
--   name_id         BIGINT   As in attribute._work_kinds, 0 for 'sync'.
--   op_id           BIGINT   Joins load.gpu_ops, NULL for 'sync'.
WITH share AS (
    -- No row, and so no launch, where nothing is to be looked for.
    SELECT least(1.0, max_launches / (SELECT nullif(count(*), 0) FROM load.gpu_ops)) AS ratio FROM input.unexplained
),
bound AS MATERIALIZED (
    SELECT
        process_key, min(correlation_id) + (max(correlation_id) - min(correlation_id)) * (1 - (SELECT ratio FROM share)) / 2 AS low,
        max(correlation_id) - (max(correlation_id) - min(correlation_id)) * (1 - (SELECT ratio FROM share)) / 2 AS high
    FROM load.gpu_ops
    WHERE process_key IS NOT NULL AND correlation_id IS NOT NULL
    GROUP BY process_key
),
call AS MATERIALIZED (
    SELECT
        c.process_key, c.global_tid, c.correlation_id, c.start_ns,
        greatest(c.start_ns, coalesce(c.end_ns, c.start_ns)) AS end_ns, c.name_id
    FROM load.api_calls AS c JOIN bound AS b ON b.process_key = c.process_key AND c.correlation_id BETWEEN b.low AND b.high
    WHERE c.start_ns IS NOT NULL AND c.global_tid IS NOT NULL
),
op AS MATERIALIZED (
    SELECT w.*
    FROM attribute._work_kinds AS w
    JOIN bound AS b ON b.process_key = w.process_key AND w.correlation_id BETWEEN b.low AND b.high
),
attention AS (
    SELECT DISTINCT full_name_id FROM attribute._kernel_roles WHERE role IN ('attention', 'recurrence') AND full_name_id IS NOT NULL
)
SELECT
    o.process_key, c.global_tid, c.start_ns AS launch_start_ns, c.end_ns AS launch_end_ns,
    CASE
        WHEN o.kind = 'kernel' THEN CASE WHEN o.full_name_id IN (FROM attention) THEN 'attention' ELSE 'kernel' END
        WHEN o.kind = 'graph' THEN 'graph'
        WHEN d.direction = 'Host-to-Device' THEN 'to_device'
        WHEN d.direction = 'Device-to-Host' THEN 'to_host'
        ELSE 'memory'
    END AS role,
    o.kind_id, o.name_id, o.op_id
FROM op AS o
JOIN call AS c USING (process_key, correlation_id)
LEFT JOIN load.memop_details AS d ON d.op_id = o.op_id AND o.kind = 'memcpy'
QUALIFY o.kind <> 'graph'
    OR row_number() OVER (PARTITION BY o.kind, o.process_key, o.correlation_id ORDER BY o.start_ns, o.op_id) = 1
UNION ALL
SELECT process_key, global_tid, start_ns, end_ns, 'sync', 0, 0, NULL
FROM call
WHERE name_id IN (SELECT string_id FROM load.strings WHERE contains(value, 'Synchronize'))
