-- Busy and idle time of each GPU by slot and phase, of operations and gaps that go by one operation alone: nearly all do.
-- attribute._busy_pieces and attribute._cut_gaps have the others.
-- Grain: device_id, slot, occurrence_id.
-- materialize: table
-- requires: attribute._device_order
-- columns:
--   device_id       BIGINT    Joins load.devices.
--   slot            UINTEGER  Joins attribute._window_slots, NULL before the first of the GPU.
--   occurrence_id   BIGINT    Phase of the operations. Joins attribute.phase_ranges.
--   compute_ns      BIGINT    Time of the plain ones of attribute._device_order. Unit: ns.
--   idle_ns         BIGINT    Length of the plain gaps before operations. Unit: ns.
--   latency_ns      BIGINT    Part of it after the return of the calls that launched those operations. Unit: ns.
--   launch_ns       BIGINT    Part of it inside those calls. Unit: ns.
--   first_launch_ns BIGINT    First entry of a call that launched an operation. Unit: ns.
--   last_launch_ns  BIGINT    Last entry of one. Unit: ns.
--   is_in_order     BOOLEAN   Whether all were launched no earlier than the operation before them.
SELECT
    device_id, slot, occurrence_id, coalesce(sum(end_ns - start_ns) FILTER (is_plain), 0)::BIGINT AS compute_ns,
    coalesce(sum(start_ns - reach_ns) FILTER (is_gap_plain), 0)::BIGINT AS idle_ns,
    coalesce(
        sum(greatest(0, start_ns - greatest(reach_ns, launch_end_ns))) FILTER (is_gap_plain AND launch_end_ns IS NOT NULL), 0
    )::BIGINT AS latency_ns,
    coalesce(
        sum(greatest(0, least(start_ns, launch_end_ns) - greatest(reach_ns, launch_start_ns)))
            FILTER (is_gap_plain AND launch_end_ns IS NOT NULL),
        0
    )::BIGINT AS launch_ns,
    min(launch_start_ns) AS first_launch_ns, max(launch_start_ns) AS last_launch_ns,
    coalesce(bool_and(is_in_order), true) AND count(launch_start_ns) = count(*) AS is_in_order
FROM attribute._device_order
WHERE end_ns IS NOT NULL
GROUP BY device_id, slot, occurrence_id
