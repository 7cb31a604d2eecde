-- Launches of the kernels and graphs that come once in each unit of work that repeats, in the whole trace.
-- Grain: op_id and call (`--cudabacktrace` records some twice), of a graph launch the first one.
-- materialize: temporary
-- empty without: input.unit_kinds
-- requires: input.unit_kinds, load.api_calls, attribute._work_kinds
-- columns:
--   process_key     BIGINT   Joins load.processes.
--   global_tid      BIGINT   The launching thread. Joins load.threads.
--   launch_start_ns BIGINT   Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT   Return of the launching call. Unit: ns.
--   kind_id         BIGINT   As in attribute._work_kinds.
--   correlation_id  BIGINT   Counts the calls of the process.
--   op_id           BIGINT   Joins load.gpu_ops.
WITH op AS MATERIALIZED (
    SELECT w.op_id, w.process_key, w.correlation_id, w.start_ns, w.kind_id
    FROM attribute._work_kinds AS w
    SEMI JOIN input.unit_kinds AS u ON u.process_key = w.process_key AND u.kind_id = w.kind_id
    QUALIFY w.kind <> 'graph'
        OR row_number() OVER (PARTITION BY w.kind, w.process_key, w.correlation_id ORDER BY w.start_ns, w.op_id) = 1
)
SELECT
    o.process_key, c.global_tid, c.start_ns AS launch_start_ns,
    greatest(c.start_ns, coalesce(c.end_ns, c.start_ns)) AS launch_end_ns, o.kind_id, o.correlation_id, o.op_id
FROM op AS o
JOIN load.api_calls AS c ON c.correlation_id = o.correlation_id AND c.process_key = o.process_key
SEMI JOIN input.unit_kinds AS u ON u.global_tid = c.global_tid AND u.kind_id = o.kind_id
WHERE c.start_ns IS NOT NULL
