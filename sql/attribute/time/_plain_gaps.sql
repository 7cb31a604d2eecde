-- Idle time of each GPU before the operations of each phase, by slot: of gaps that one slot holds and whose operation started
-- after its call was entered. Nearly all gaps are such; attribute._cut_gaps has the others.
-- Grain: device_id, slot, occurrence_id.
-- materialize: table
-- requires: attribute._device_order, attribute._window_slots
-- columns:
--   device_id     BIGINT    Joins load.devices.
--   slot          UINTEGER  Joins attribute._window_slots.
--   occurrence_id BIGINT    Phase of the operations at their ends. Joins attribute.phase_ranges.
--   idle_ns       BIGINT    Their length. Unit: ns.
--   latency_ns    BIGINT    Part of it after the return of the calls that launched those operations. Unit: ns.
--   launch_ns     BIGINT    Part of it inside those calls. Unit: ns.
SELECT
    o.device_id, o.slot, o.occurrence_id,
    sum(o.start_ns - o.reach_ns)::BIGINT AS idle_ns,
    coalesce(
        sum(greatest(0, o.start_ns - greatest(o.reach_ns, o.launch_end_ns))) FILTER (WHERE o.launch_end_ns IS NOT NULL), 0
    )::BIGINT AS latency_ns,
    coalesce(
        sum(greatest(0, least(o.start_ns, o.launch_end_ns) - greatest(o.reach_ns, o.launch_start_ns)))
            FILTER (WHERE o.launch_end_ns IS NOT NULL),
        0
    )::BIGINT AS launch_ns
FROM attribute._device_order AS o
JOIN attribute._window_slots AS s ON s.device_id = o.device_id AND s.slot = o.slot
WHERE o.reach_ns < o.start_ns AND o.reach_ns >= s.start_ns AND s.end_ns IS NOT NULL AND o.end_ns IS NOT NULL
    AND (o.launch_start_ns IS NULL OR o.launch_start_ns <= o.start_ns)
GROUP BY o.device_id, o.slot, o.occurrence_id
