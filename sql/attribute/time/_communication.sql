-- Communication kernels in the order in which each stream of a rank runs them.
-- A rank is a process on a GPU. Its communicators have a stream each, as torch and NCCL have it.
-- Grain: op_id.
-- materialize: table
-- requires: attribute.gpu_work, attribute.kernel_families, load.strings
-- columns:
--   op_id       BIGINT   Joins attribute.gpu_work.
--   lane        BIGINT   Rank and stream.
--   process_key BIGINT   Joins load.processes.
--   device_id   BIGINT   Joins load.devices.
--   name        VARCHAR  Short kernel name.
--   number      BIGINT   1, 2, 3, … in the lane.
--   start_ns    BIGINT   Unit: ns.
--   end_ns      BIGINT   Unit: ns.
--   range_id    BIGINT   Innermost push/pop range around its launch, which is NCCL's own for its kernels. Joins load.nvtx_ranges.
--   occurrence_id BIGINT The phase it belongs to. Joins attribute.phase_ranges, NULL outside every phase.
WITH kernel AS (
    SELECT w.op_id, w.process_key, w.device_id, w.stream_id, s.value AS name, w.start_ns, w.end_ns, w.range_id, w.occurrence_id
    FROM attribute.gpu_work AS w
    JOIN attribute.kernel_families AS f
        ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id AND f.family = 'communication'
    JOIN load.strings AS s ON s.string_id = w.name_id
    WHERE w.kind = 'kernel'
)
SELECT
    op_id, dense_rank() OVER (ORDER BY process_key, device_id, stream_id) AS lane, process_key, device_id, name,
    row_number() OVER (PARTITION BY process_key, device_id, stream_id ORDER BY start_ns, op_id) AS number, start_ns, end_ns,
    range_id, occurrence_id
FROM kernel
