-- Idle time of GPUs inside calls that load code or allocate memory: in measured time, before work that the calling thread launches.
-- As in the time budget, idle time that ends with another thread's work is that thread's.
-- What a call takes beside a busy GPU costs nothing, nor what it takes behind the launch of the operation that ends the gap.
-- Grain: api_id; calls beside a busy GPU are absent.
-- materialize: table
-- empty without: attribute.costly_calls WHERE what <> 'synchronizing'
-- requires: attribute.costly_calls, attribute._launch_lanes, attribute._device_order, attribute.windows, macros.overlap, macros.covered
-- columns:
--   api_id  BIGINT Joins attribute.costly_calls.
--   idle_ns BIGINT Added up over GPUs. Unit: ns.
WITH span AS (
    SELECT row_number() OVER (ORDER BY c.api_id, l.device_id) AS span_id, c.api_id, l.lane AS group_id, c.start_ns, c.end_ns
    FROM attribute.costly_calls AS c JOIN attribute._launch_lanes AS l USING (global_tid)
    WHERE c.what <> 'synchronizing'
),
-- Few gaps lie in such a call: a gap does if, of the calls that began before its end, the last return comes after its start.
reach AS (
    SELECT group_id, start_ns, max(end_ns) OVER (PARTITION BY group_id ORDER BY start_ns, end_ns) AS reach_ns FROM span
),
gap AS (
    SELECT o.group_id, o.reach_ns AS start_ns, o.gap_end_ns AS end_ns
    FROM (
        SELECT l.lane AS group_id, o.reach_ns, least(o.start_ns, o.launch_start_ns) AS gap_end_ns
        FROM attribute._device_order AS o
        -- What follows the last operation is nobody's.
        JOIN attribute._launch_lanes AS l ON l.device_id = o.device_id AND (l.global_tid = o.global_tid OR o.end_ns IS NULL)
        WHERE o.reach_ns < least(o.start_ns, o.launch_start_ns)
    ) AS o
    ASOF JOIN reach AS r ON r.group_id = o.group_id AND r.start_ns < o.gap_end_ns
    WHERE r.reach_ns > o.reach_ns
),
"window" AS (
    SELECT l.lane AS group_id, w.start_ns, w.end_ns FROM attribute.windows AS w JOIN attribute._launch_lanes AS l USING (device_id)
),
idle AS (
    SELECT group_id, start_ns, end_ns FROM macros.overlap('gap', '"window"')
)
SELECT s.api_id, sum(c.covered_ns)::BIGINT AS idle_ns
FROM span AS s JOIN macros.covered('span', 'idle') AS c USING (span_id)
GROUP BY s.api_id
HAVING sum(c.covered_ns) > 0
