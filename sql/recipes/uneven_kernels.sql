-- Which kernels take very different times from launch to launch?
-- Warm-up and cold occurrences count.
-- params:
--   top=20  Kernels to show.
-- columns:
--   phase    VARCHAR  Name of the phase, or NULL.
--   name     VARCHAR  Short kernel name.
--   grid     VARCHAR  Blocks along x, y and z: equal grids are equal work for most kernels.
--   count    BIGINT   Kernels whose times were recorded.
--   min_ns   BIGINT   Shortest. Unit: ns.
--   p50_ns   DOUBLE   Median. Unit: ns.
--   max_ns   BIGINT   Longest. Unit: ns.
--   excess_ns BIGINT  Time over the median, added up. Unit: ns.
WITH timed AS (
    SELECT
        phase, name, concat_ws('x', grid_x, grid_y, grid_z) AS grid, dur_ns,
        median(dur_ns) OVER (PARTITION BY phase, name, grid_x, grid_y, grid_z) AS p50_ns
    FROM kernels
    WHERE NOT (start_ns = end_ns AND start_ns <= 0)
)
SELECT
    phase, name, grid, count(*) AS "count", min(dur_ns) AS min_ns, any_value(p50_ns) AS p50_ns, max(dur_ns) AS max_ns,
    sum(greatest(0, dur_ns - p50_ns))::BIGINT AS excess_ns
FROM timed
GROUP BY phase, name, grid
HAVING count(*) > 2
ORDER BY excess_ns DESC, phase, name, grid
LIMIT $top
