-- Which kernels have too few blocks to use every SM?
-- params:
--   top=20  Kernels to show.
-- columns:
--   phase      VARCHAR  Name of the phase, or NULL.
--   name       VARCHAR  Short kernel name.
--   blocks     BIGINT   Blocks of the grid.
--   sm_count   BIGINT   SMs of the GPU.
--   used_ratio DOUBLE   blocks / sm_count: SMs that can have a block.
--   count      BIGINT   Kernels.
--   time_ns    BIGINT   Sum of their durations. Unit: ns.
SELECT
    k.phase, k.name, k.grid_x * k.grid_y * k.grid_z AS blocks, d.sm_count,
    k.grid_x * k.grid_y * k.grid_z / d.sm_count AS used_ratio, count(*) AS "count", sum(k.dur_ns)::BIGINT AS time_ns
FROM kernels AS k JOIN devices AS d USING (device_id)
WHERE k.grid_x * k.grid_y * k.grid_z < d.sm_count
GROUP BY k.phase, k.name, blocks, d.sm_count
ORDER BY time_ns DESC, k.phase, k.name, blocks, d.sm_count
LIMIT $top
