-- Communication kernels in the order in which each stream of a rank runs them.
-- A rank is a process on a GPU. Its communicators have a stream each, as torch and NCCL have it.
-- Grain: op_id.
-- materialize: table
-- requires: attribute.gpu_work, load.strings, macros.kernel_family
-- columns:
--   op_id       BIGINT   Joins attribute.gpu_work.
--   lane        BIGINT   Rank and stream.
--   process_key BIGINT   Joins load.processes.
--   device_id   BIGINT   Joins load.devices.
--   name        VARCHAR  Short kernel name.
--   number      BIGINT   1, 2, 3, … in the lane.
--   start_ns    BIGINT   Unit: ns.
--   end_ns      BIGINT   Unit: ns.
WITH used AS (
    SELECT DISTINCT name_id, full_name_id FROM attribute.gpu_work WHERE kind = 'kernel'
),
name AS (
    SELECT u.name_id, u.full_name_id, short.value AS name
    FROM used AS u
    JOIN load.strings AS short ON short.string_id = u.name_id
    LEFT JOIN load.strings AS long ON long.string_id = u.full_name_id
    WHERE macros.kernel_family(short.value, long.value) = 'communication'
),
kernel AS (
    SELECT w.op_id, w.process_key, w.device_id, w.stream_id, n.name, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN name AS n ON n.name_id = w.name_id AND n.full_name_id IS NOT DISTINCT FROM w.full_name_id
    WHERE w.kind = 'kernel'
)
SELECT
    op_id, dense_rank() OVER (ORDER BY process_key, device_id, stream_id) AS lane, process_key, device_id, name,
    row_number() OVER (PARTITION BY process_key, device_id, stream_id ORDER BY start_ns, op_id) AS number, start_ns, end_ns
FROM kernel
