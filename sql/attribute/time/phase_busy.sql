-- How long each GPU was busy with each phase, whichever processes used it.
-- Grain: phase, device_id.
-- materialize: table
-- requires: attribute.phase_devices, attribute._phase_device_spans, attribute._shared_intervals, macros.busy_ns
-- columns:
--   phase       VARCHAR  Name of the phase.
--   device_id   BIGINT   Joins load.devices.
--   gpu_span_ns BIGINT   From the first start to the last end. Unit: ns.
--   gpu_busy_ns BIGINT   Length of the union of the work. Unit: ns.
WITH span AS (
    SELECT phase, device_id, max(last_end_ns) - min(first_start_ns) AS gpu_span_ns
    FROM attribute._phase_device_spans
    GROUP BY phase, device_id
),
shared AS (
    SELECT group_id, busy_ns FROM macros.busy_ns('attribute._shared_intervals')
)
SELECT
    d.phase, d.device_id, any_value(span.gpu_span_ns) AS gpu_span_ns,
    coalesce(any_value(shared.busy_ns), sum(d.gpu_busy_ns))::BIGINT AS gpu_busy_ns
FROM attribute.phase_devices AS d
JOIN span ON span.phase = d.phase AND span.device_id = d.device_id
LEFT JOIN shared ON shared.group_id = json_array(d.phase, d.device_id)::VARCHAR
GROUP BY d.phase, d.device_id
