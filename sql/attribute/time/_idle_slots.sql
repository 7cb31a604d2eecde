-- Idle time of each GPU by slot, phase and class, of the plain gaps of attribute._device_order. After the return of the call that
-- launched the operation at the end of the gap it is `latency`, inside the call `launch`. Before the call it is what the
-- thread was in: `launch`, `sync` or `api` in a call of that kind, else `host`.
-- Algorithm: a call before the launching one lies in at most one gap of a GPU, the last that starts before the call returns:
-- the gap lasts until its own call is entered.
-- Grain: device_id, slot, occurrence_id, class.
-- materialize: table
-- requires: attribute._device_order, attribute._plain_sums, attribute._launch_lanes, attribute._telling_calls
-- columns:
--   device_id     BIGINT    Joins load.devices.
--   slot          UINTEGER  Joins attribute._window_slots.
--   occurrence_id BIGINT    Joins attribute.phase_ranges, NULL outside every phase.
--   class         VARCHAR   'launch', 'latency', 'sync', 'api' or 'host'.
--   time_ns       BIGINT    Unit: ns.
WITH wait AS (
    SELECT l.lane, o.reach_ns AS start_ns, o.launch_start_ns AS end_ns, o.slot, o.occurrence_id
    FROM attribute._device_order AS o
    JOIN attribute._launch_lanes AS l ON l.device_id = o.device_id AND l.global_tid = o.global_tid
    WHERE o.is_gap_plain AND o.reach_ns < o.launch_start_ns
),
inside AS (
    SELECT w.lane, w.slot, w.occurrence_id, c.kind, sum(c.end_ns - greatest(w.start_ns, c.start_ns))::BIGINT AS time_ns
    FROM (
        SELECT l.lane, c.start_ns, c.end_ns, c.kind
        FROM attribute._telling_calls AS c JOIN attribute._launch_lanes AS l USING (global_tid)
    ) AS c
    ASOF JOIN wait AS w ON w.lane = c.lane AND w.start_ns < c.end_ns
    WHERE w.end_ns >= c.end_ns
    GROUP BY w.lane, w.slot, w.occurrence_id, c.kind
),
called AS (
    SELECT
        l.device_id, i.slot, i.occurrence_id,
        coalesce(sum(i.time_ns) FILTER (WHERE i.kind = 0), 0) AS launch_ns,
        coalesce(sum(i.time_ns) FILTER (WHERE i.kind = 1), 0) AS sync_ns,
        coalesce(sum(i.time_ns) FILTER (WHERE i.kind = 2), 0) AS api_ns
    FROM inside AS i JOIN attribute._launch_lanes AS l USING (lane)
    GROUP BY l.device_id, i.slot, i.occurrence_id
),
-- Should calls of a thread overlap after all, nothing may become more than there is.
launched AS (
    SELECT
        g.device_id, g.slot, g.occurrence_id, g.latency_ns, coalesce(c.sync_ns, 0) AS sync_ns, coalesce(c.api_ns, 0) AS api_ns,
        least(g.launch_ns + coalesce(c.launch_ns, 0), g.idle_ns - g.latency_ns) AS launched_ns,
        g.idle_ns - g.latency_ns - launched_ns AS left_ns
    FROM attribute._plain_sums AS g
    LEFT JOIN called AS c
        ON c.device_id = g.device_id AND c.slot = g.slot AND c.occurrence_id IS NOT DISTINCT FROM g.occurrence_id
),
split AS (
    SELECT
        device_id, slot, occurrence_id, launched_ns, latency_ns, least(sync_ns, left_ns) AS waited_ns,
        least(api_ns, left_ns - waited_ns) AS called_ns, left_ns - waited_ns - called_ns AS host_ns
    FROM launched
),
listed AS (
    SELECT device_id, slot, occurrence_id, 'launch' AS class, launched_ns AS time_ns FROM split
    UNION ALL SELECT device_id, slot, occurrence_id, 'latency', latency_ns FROM split
    UNION ALL SELECT device_id, slot, occurrence_id, 'sync', waited_ns FROM split
    UNION ALL SELECT device_id, slot, occurrence_id, 'api', called_ns FROM split
    UNION ALL SELECT device_id, slot, occurrence_id, 'host', host_ns FROM split
)
SELECT device_id, slot, occurrence_id, class, time_ns::BIGINT AS time_ns FROM listed WHERE time_ns > 0
