-- Idle time of each GPU by slot, phase and class, of the gaps that attribute._idle_gaps lists. After the return of the call
-- that launched the operation at the end of the gap it is `latency`, inside the call `launch`. Before the call it is what
-- the thread was in: `launch`, `sync` or `api` in a call of that kind, else `host`.
-- Algorithm: a call before the launching one lies in at most one gap of a GPU, the last that starts before the call returns:
-- the gap lasts until its own call is entered.
-- Grain: device_id, slot, occurrence_id, class.
-- materialize: table
-- requires: attribute._idle_gaps, attribute._thread_calls
-- columns:
--   device_id     BIGINT   Joins load.devices.
--   slot          BIGINT   Joins attribute._window_slots.
--   occurrence_id BIGINT   Joins attribute.phase_ranges, NULL outside every phase.
--   class         VARCHAR  'launch', 'latency', 'sync', 'api' or 'host'.
--   time_ns       BIGINT   Unit: ns.
WITH before AS (
    SELECT device_id, slot, occurrence_id, global_tid, start_ns, launch_start_ns AS end_ns
    FROM attribute._idle_gaps
    WHERE launch_start_ns > start_ns
),
used AS (
    SELECT DISTINCT global_tid, device_id FROM before
),
inside AS (
    SELECT
        b.device_id, b.slot, b.occurrence_id,
        sum(c.end_ns - greatest(b.start_ns, c.start_ns)) FILTER (WHERE c.kind = 0) AS launch_ns,
        sum(c.end_ns - greatest(b.start_ns, c.start_ns)) FILTER (WHERE c.kind = 1) AS sync_ns,
        sum(c.end_ns - greatest(b.start_ns, c.start_ns)) FILTER (WHERE c.kind = 2) AS api_ns
    FROM (
        SELECT c.global_tid, used.device_id, c.start_ns, c.end_ns, c.kind
        FROM attribute._thread_calls AS c JOIN used ON used.global_tid = c.global_tid
    ) AS c
    ASOF JOIN before AS b
        ON b.global_tid = c.global_tid AND b.device_id = c.device_id AND b.start_ns < c.end_ns
    WHERE b.end_ns >= c.end_ns
    GROUP BY b.device_id, b.slot, b.occurrence_id
),
gap AS (
    SELECT
        device_id, slot, occurrence_id,
        sum(end_ns - start_ns) AS idle_ns,
        coalesce(sum(greatest(0, end_ns - greatest(start_ns, launch_end_ns))) FILTER (WHERE launch_end_ns IS NOT NULL), 0)
            AS latency_ns,
        coalesce(
            sum(greatest(0, least(end_ns, launch_end_ns) - greatest(start_ns, launch_start_ns)))
                FILTER (WHERE launch_end_ns IS NOT NULL),
            0
        ) AS own_ns
    FROM attribute._idle_gaps
    GROUP BY device_id, slot, occurrence_id
),
-- Should calls of a thread overlap after all, nothing may become more than there is.
launched AS (
    SELECT
        g.*, i.sync_ns, i.api_ns, least(g.own_ns + coalesce(i.launch_ns, 0), g.idle_ns - g.latency_ns) AS launch_ns
    FROM gap AS g
    LEFT JOIN inside AS i
        ON i.device_id = g.device_id AND i.slot = g.slot AND i.occurrence_id IS NOT DISTINCT FROM g.occurrence_id
),
synchronized AS (
    SELECT *, idle_ns - latency_ns - launch_ns AS left_ns, least(coalesce(sync_ns, 0), left_ns) AS waited_ns FROM launched
),
split AS (
    SELECT
        device_id, slot, occurrence_id, launch_ns, latency_ns, waited_ns AS sync_ns,
        least(coalesce(api_ns, 0), left_ns - waited_ns) AS called_ns, left_ns - waited_ns - called_ns AS host_ns
    FROM synchronized
),
listed AS (
    SELECT device_id, slot, occurrence_id, 'launch' AS class, launch_ns AS time_ns FROM split
    UNION ALL SELECT device_id, slot, occurrence_id, 'latency', latency_ns FROM split
    UNION ALL SELECT device_id, slot, occurrence_id, 'sync', sync_ns FROM split
    UNION ALL SELECT device_id, slot, occurrence_id, 'api', called_ns FROM split
    UNION ALL SELECT device_id, slot, occurrence_id, 'host', host_ns FROM split
)
SELECT device_id, slot, occurrence_id, class, time_ns::BIGINT AS time_ns FROM listed WHERE time_ns > 0
