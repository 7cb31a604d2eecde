-- Which GEMM kernels take the time, at which grid?
-- A kernel whose blocks do not fill the GPU's SMs leaves part of it idle.
-- Warm-up and cold occurrences count; top_kernels leaves them out.
-- params:
--   top=20  Kernels to show.
-- columns:
--   phase     VARCHAR  Name of the phase, or NULL.
--   name      VARCHAR  Short kernel name.
--   grid      VARCHAR  Blocks along x, y and z.
--   block     VARCHAR  Threads of a block along x, y and z.
--   count     BIGINT   Kernels.
--   time_ns   BIGINT   Sum of their durations. Unit: ns.
--   mean_ns   DOUBLE   Mean duration of those whose times were recorded. Unit: ns.
SELECT
    phase, name, concat_ws('x', grid_x, grid_y, grid_z) AS grid, concat_ws('x', block_x, block_y, block_z) AS block,
    count(*) AS "count", sum(dur_ns)::BIGINT AS time_ns,
    avg(dur_ns) FILTER (WHERE NOT (start_ns = end_ns AND start_ns <= 0)) AS mean_ns
FROM kernels
WHERE family IN ('gemm', 'gemv')
GROUP BY phase, name, grid, block
ORDER BY time_ns DESC, phase, name, grid, block
LIMIT $top
