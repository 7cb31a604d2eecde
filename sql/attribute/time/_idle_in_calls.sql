-- Idle time of GPUs inside calls that load code or allocate memory: of the GPUs that the calling thread gives work, in measured time.
-- What a call takes beside a busy GPU costs nothing, nor what it takes behind the launch of the operation that ends the gap.
-- Grain: api_id; calls beside a busy GPU are absent.
-- materialize: table
-- empty without: attribute.costly_calls WHERE what <> 'synchronizing'
-- requires: attribute.costly_calls, attribute._launch_lanes, attribute._device_order, attribute._measured_windows, macros.islands, macros.overlap, macros.covered
-- columns:
--   api_id  BIGINT Joins attribute.costly_calls.
--   idle_ns BIGINT Added up over GPUs. Unit: ns.
WITH span AS (
    SELECT row_number() OVER (ORDER BY c.api_id, l.device_id) AS span_id, c.api_id, l.device_id AS group_id, c.start_ns, c.end_ns
    FROM attribute.costly_calls AS c JOIN attribute._launch_lanes AS l USING (global_tid)
    WHERE c.what <> 'synchronizing'
),
-- Only gaps in which such a call is open: sweeping all of a trace's gaps takes longer than anything else here.
gap AS (
    SELECT g.device_id AS group_id, g.start_ns, g.end_ns
    FROM (
        SELECT device_id, reach_ns AS start_ns, least(start_ns, launch_start_ns) AS end_ns
        FROM attribute._device_order
        WHERE reach_ns < least(start_ns, launch_start_ns)
    ) AS g
    ASOF JOIN macros.islands('span') AS s ON s.group_id = g.device_id AND s.start_ns < g.end_ns
    WHERE s.end_ns > g.start_ns
),
idle AS (
    SELECT group_id, start_ns, end_ns FROM macros.overlap('gap', 'attribute._measured_windows')
)
SELECT s.api_id, sum(c.covered_ns)::BIGINT AS idle_ns
FROM span AS s JOIN macros.covered('span', 'idle') AS c USING (span_id)
GROUP BY s.api_id
HAVING sum(c.covered_ns) > 0
