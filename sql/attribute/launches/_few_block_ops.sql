-- Measured kernels with so few blocks that half of the GPU's SMs or more have nothing to do, by their grids.
-- A block runs on one SM, so that a grid of fewer blocks than SMs cannot use them all: sure whatever its registers and shared
-- memory. Kernels of 10 µs and more: twice what the hardware needs from one kernel to the next, so that shorter ones are not about
-- their blocks. Kernels that communicate, or wait on purpose, take few SMs on purpose. A MIG slice has its own SMs.
-- Outside every phase: those that start in measured time.
-- Grain: op_id.
-- materialize: table
-- empty without: load.gpu_ops WHERE kind = 'kernel' AND blocks > 0 AND end_ns - start_ns >= 10000
-- requires: load.gpu_ops, load.devices, load.strings, attribute.gpu_work, attribute.occurrences, attribute._unmeasured_ops, attribute.kernel_families
-- columns:
--   op_id        BIGINT  Joins attribute.gpu_work.
--   phase        VARCHAR Name of the phase, or NULL.
--   name_id      BIGINT  Short name. Joins load.strings.
--   full_name_id BIGINT  Demangled name. Joins load.strings.
--   blocks       BIGINT  Blocks of the grid.
--   sm_count     BIGINT  SMs of the GPU, or of the part that CUDA had.
--   time_ns      BIGINT  Its duration. Unit: ns.
WITH device AS (
    SELECT device_id, least(sm_count, coalesce(available_sm_count, sm_count)) AS sm_count FROM load.devices
),
few AS MATERIALIZED (
    SELECT o.op_id, o.name_id, o.full_name_id, o.blocks, d.sm_count, o.end_ns - o.start_ns AS time_ns
    FROM load.gpu_ops AS o JOIN device AS d USING (device_id)
    WHERE o.kind = 'kernel' AND o.blocks > 0 AND 2 * o.blocks <= d.sm_count AND o.end_ns - o.start_ns >= 10000
),
meant AS (
    SELECT f.name_id, f.full_name_id
    FROM attribute.kernel_families AS f LEFT JOIN load.strings AS s ON s.string_id = f.name_id
    WHERE f.family <> 'communication' AND NOT regexp_matches(coalesce(s.value, ''), '(?i)wait|barrier|signal|spin|sleep|sync')
)
SELECT
    f.op_id, p.phase, f.name_id::BIGINT AS name_id, f.full_name_id::BIGINT AS full_name_id, f.blocks, f.sm_count, f.time_ns
FROM few AS f
JOIN meant AS m ON m.name_id IS NOT DISTINCT FROM f.name_id AND m.full_name_id IS NOT DISTINCT FROM f.full_name_id
JOIN attribute.gpu_work AS w USING (op_id)
LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = f.op_id
WHERE w.occurrence_id IS NULL OR p.is_measured
