-- Every GPU operation with the host call that launched it, the range and the phase the call was made in.
-- Attribution is by launch: GPU operation to call by correlation id within the process, call to range by thread and
-- start of the call. When the operation ran on the GPU plays no part.
-- Grain: op_id. Launched outside every phase: occurrence_id is NULL and reason says why.
-- materialize: table
-- requires: load.gpu_ops, load.api_calls, attribute.range_segments, attribute._process_segments, input.overlay_segments, input.settings
-- columns:
--   op_id           BIGINT   Joins load.gpu_ops.
--   kind            VARCHAR  'kernel', 'memcpy', 'memset' or 'graph'.
--   process_key     BIGINT   Joins load.processes.
--   device_id       BIGINT   Joins load.devices.
--   stream_id       BIGINT   CUDA stream.
--   start_ns        BIGINT   Start on the GPU. Unit: ns.
--   end_ns          BIGINT   End on the GPU. Unit: ns.
--   name_id         BIGINT   Short kernel name. Joins load.strings.
--   full_name_id    BIGINT   Demangled kernel name. Joins load.strings.
--   graph_node_id   BIGINT   Set when it ran inside a CUDA graph.
--   bytes           BIGINT   Bytes copied or filled.
--   api_id          BIGINT   The launching call. Joins load.api_calls.
--   global_tid      BIGINT   The launching thread. Joins load.threads.
--   launch_start_ns BIGINT   Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT   Return of the launching call. Unit: ns.
--   range_id        BIGINT   Innermost push/pop range around the call. Joins load.nvtx_ranges.
--   occurrence_id   BIGINT   The phase it belongs to. Joins attribute.phase_ranges.
--   method          VARCHAR  How the phase was found: 'thread' (push/pop range of the launching thread), 'start_end'
--                            (start/end range of the launching thread), 'other_thread' (the only phase open in the
--                            process; flagged), NULL for none.
--   reason          VARCHAR  Why there is no phase: 'no_api_call', 'no_range', 'no_phase', 'several_phases_open'.
WITH linked AS MATERIALIZED (
    SELECT o.*, c.api_id, c.global_tid, c.start_ns AS launch_start_ns, c.end_ns AS launch_end_ns
    FROM load.gpu_ops AS o
    LEFT JOIN load.api_calls AS c ON c.correlation_id = o.correlation_id AND c.process_key = o.process_key
),
-- `--cudabacktrace` records a call twice: then, and only then, keep the earlier row of each operation.
doubled AS MATERIALIZED (
    SELECT (SELECT count(*) FROM linked) > (SELECT count(*) FROM load.gpu_ops) AS is_doubled
),
launched AS (
    SELECT * FROM linked WHERE NOT (SELECT is_doubled FROM doubled)
    UNION ALL
    SELECT * FROM linked WHERE (SELECT is_doubled FROM doubled)
    QUALIFY row_number() OVER (PARTITION BY op_id ORDER BY launch_start_ns, api_id) = 1
),
placed AS MATERIALIZED (
    SELECT l.*, s.range_id, s.occurrence_id
    FROM launched AS l
    ASOF LEFT JOIN attribute.range_segments AS s
        ON s.global_tid = l.global_tid AND s.start_ns <= l.launch_start_ns
),
overlaid AS (
    SELECT p.* EXCLUDE (occurrence_id), o.occurrence_id AS overlay_id
    FROM (SELECT * FROM placed WHERE occurrence_id IS NULL) AS p
    ASOF LEFT JOIN input.overlay_segments AS o
        ON o.global_tid = p.global_tid AND o.start_ns <= p.launch_start_ns
),
lent AS (
    SELECT o.*, s.open_count, CASE WHEN NOT (SELECT is_strict FROM input.settings) THEN s.occurrence_id END AS lent_id
    FROM overlaid AS o
    ASOF LEFT JOIN attribute._process_segments AS s
        ON s.process_key = o.process_key AND s.start_ns <= o.launch_start_ns
)
SELECT
    op_id, kind, process_key, device_id, stream_id, start_ns, end_ns, name_id, full_name_id, graph_node_id, bytes,
    api_id, global_tid, launch_start_ns, launch_end_ns, range_id, occurrence_id,
    'thread' AS method, NULL AS reason
FROM placed
WHERE occurrence_id IS NOT NULL
UNION ALL
SELECT
    op_id, kind, process_key, device_id, stream_id, start_ns, end_ns, name_id, full_name_id, graph_node_id, bytes,
    api_id, global_tid, launch_start_ns, launch_end_ns, range_id, coalesce(overlay_id, lent_id),
    CASE WHEN overlay_id IS NOT NULL THEN 'start_end' WHEN lent_id IS NOT NULL THEN 'other_thread' END,
    CASE
        WHEN coalesce(overlay_id, lent_id) IS NOT NULL THEN NULL
        WHEN api_id IS NULL THEN 'no_api_call'
        WHEN open_count > 1 THEN 'several_phases_open'
        WHEN range_id IS NULL THEN 'no_range'
        ELSE 'no_phase'
    END
FROM lent
