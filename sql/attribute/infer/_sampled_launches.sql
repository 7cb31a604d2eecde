-- Launches of each process in order, of a large trace only the middle ones: what repeats is looked for in them.
-- Grain: op_id and call (`--cudabacktrace` records some twice), of a graph launch the first one; a call that waits has none.
-- materialize: temporary
-- empty without: input.unexplained
-- requires: input.unexplained, load.memop_details, load.api_calls, load.strings, attribute._kernel_roles, attribute._work_kinds
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
    -- Hundredths of the work of each process: as many on each side of the middle as may be read.
    SELECT greatest(1, least(50, 50.0 * any_value(u.max_launches) / count(*)))::BIGINT AS hundredths
    FROM attribute._work_kinds, input.unexplained AS u
),
bound AS (
    SELECT process_key, quantile_disc(start_ns, [i / 100 for i in range(101)]) AS starts_ns
    FROM attribute._work_kinds
    GROUP BY process_key
),
op AS MATERIALIZED (
    SELECT w.*
    FROM attribute._work_kinds AS w JOIN bound AS b USING (process_key)
    WHERE w.start_ns BETWEEN b.starts_ns[51 - (SELECT hundredths FROM share)] AND b.starts_ns[51 + (SELECT hundredths FROM share)]
    QUALIFY w.kind <> 'graph'
        OR row_number() OVER (PARTITION BY w.kind, w.process_key, w.correlation_id ORDER BY w.start_ns, w.op_id) = 1
),
attention AS (
    SELECT DISTINCT full_name_id FROM attribute._kernel_roles WHERE role = 'attention' AND full_name_id IS NOT NULL
),
launch AS MATERIALIZED (
    SELECT
        o.process_key, c.global_tid, c.start_ns AS launch_start_ns,
        greatest(c.start_ns, coalesce(c.end_ns, c.start_ns)) AS launch_end_ns,
        CASE
            WHEN o.kind = 'kernel' THEN CASE WHEN o.full_name_id IN (FROM attention) THEN 'attention' ELSE 'kernel' END
            WHEN o.kind = 'graph' THEN 'graph'
            WHEN d.direction = 'Host-to-Device' THEN 'to_device'
            WHEN d.direction = 'Device-to-Host' THEN 'to_host'
            ELSE 'memory'
        END AS role,
        o.kind_id, o.name_id, o.op_id
    FROM op AS o
    JOIN load.api_calls AS c ON c.correlation_id = o.correlation_id AND c.process_key = o.process_key
    LEFT JOIN load.memop_details AS d ON d.op_id = o.op_id
    WHERE c.start_ns IS NOT NULL AND c.global_tid IS NOT NULL
),
thread AS (
    SELECT global_tid, min(launch_start_ns) AS low, max(launch_start_ns) AS high FROM launch GROUP BY global_tid
)
SELECT process_key, global_tid, launch_start_ns, launch_end_ns, role, kind_id, name_id, op_id FROM launch
UNION ALL
SELECT c.process_key, c.global_tid, c.start_ns, greatest(c.start_ns, coalesce(c.end_ns, c.start_ns)), 'sync', 0, 0, NULL
FROM load.api_calls AS c
JOIN thread AS t ON t.global_tid = c.global_tid AND c.start_ns BETWEEN t.low AND t.high
JOIN load.strings AS s ON s.string_id = c.name_id
WHERE contains(s.value, 'Synchronize')
