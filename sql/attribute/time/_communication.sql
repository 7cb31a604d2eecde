-- Communication kernels in the order in which each stream of a rank runs them.
-- A rank is a process on a GPU. Its communicators have a stream each, as torch and NCCL have it, if NCCL does not say which
-- communicator a kernel is of: in exports with payloads it does, but for grouped calls and graphs, and torch.profiler names process groups.
-- Algorithm: a stream runs kernels as they were launched, so that one without times, from 0 to 0, stands before the first that starts of
-- those launched after it. In a graph, whose nodes one call launches, its place among them is not known; nor is it in a lane with
-- kernels whose launch is unknown.
-- Grain: op_id.
-- materialize: table
-- empty without: attribute.kernel_families WHERE family = 'communication'
-- requires: load.nccl_messages, load.torch_messages, load.strings, attribute.gpu_work, attribute.kernel_families, macros.is_timed
-- columns:
--   op_id       BIGINT   Joins attribute.gpu_work.
--   lane        BIGINT   Rank, stream and communicator.
--   communicator VARCHAR NCCL's hash of it, or torch's process group; NULL where that is not known.
--   process_key BIGINT   Joins load.processes.
--   device_id   BIGINT   Joins load.devices.
--   name        VARCHAR  Short kernel name.
--   number      BIGINT   1, 2, 3, … in the lane.
--   is_placed   BOOLEAN  Whether its times and its number are known.
--   start_ns    BIGINT   Unit: ns.
--   end_ns      BIGINT   Unit: ns.
--   range_id    BIGINT   Innermost push/pop range around its launch, which is NCCL's own for its kernels. Joins load.nvtx_ranges.
--   occurrence_id BIGINT The phase it belongs to. Joins attribute.phase_ranges, NULL outside every phase.
WITH kernel AS (
    SELECT
        w.op_id, w.process_key, w.device_id, w.stream_id, coalesce(m.communicator, t.communicator) AS communicator, s.value AS name, w.start_ns, w.end_ns, w.launch_start_ns, w.range_id,
        w.occurrence_id, NOT macros.is_timed(w.start_ns, w.end_ns) AS is_untimed
    FROM attribute.gpu_work AS w
    JOIN attribute.kernel_families AS f
        ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id AND f.family = 'communication'
    JOIN load.strings AS s ON s.string_id = w.name_id
    LEFT JOIN load.nccl_messages AS m ON m.range_id = w.range_id
    LEFT JOIN load.torch_messages AS t ON t.op_id = w.op_id
    WHERE w.kind = 'kernel'
),
laned AS (
    SELECT *, dense_rank() OVER (ORDER BY process_key, device_id, stream_id, communicator) AS lane FROM kernel
),
placed AS (
    SELECT
        *,
        CASE WHEN is_untimed THEN min(CASE WHEN NOT is_untimed THEN start_ns END) OVER later ELSE start_ns END AS place_ns,
        NOT bool_or(is_untimed) OVER (PARTITION BY lane, launch_start_ns)
            AND NOT (bool_or(is_untimed) OVER same AND bool_or(launch_start_ns IS NULL) OVER same) AS is_placed
    FROM laned
    WINDOW
        same AS (PARTITION BY lane),
        later AS (PARTITION BY lane ORDER BY launch_start_ns RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
)
SELECT
    op_id, lane, communicator, process_key, device_id, name,
    row_number() OVER (PARTITION BY lane ORDER BY place_ns NULLS LAST, NOT is_untimed, launch_start_ns, op_id) AS number, is_placed, start_ns,
    end_ns, range_id, occurrence_id
FROM placed
