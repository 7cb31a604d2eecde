-- How long each GPU was busy with each phase, whichever processes used it.
-- Grain: phase, device_id.
-- materialize: table
-- requires: attribute.phase_devices, attribute._phase_device_spans, attribute.gpu_work, attribute.phase_ranges, macros.busy_ns
-- columns:
--   phase       VARCHAR  Name of the phase.
--   device_id   BIGINT   Joins load.devices.
--   gpu_span_ns BIGINT   From the first start to the last end. Unit: ns.
--   gpu_busy_ns BIGINT   Length of the union of the work. Unit: ns.
WITH shared_work AS (
    -- Of phases that several processes run on one GPU.
    SELECT json_array(p.phase, w.device_id)::VARCHAR AS group_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    SEMI JOIN (SELECT phase, device_id FROM attribute._phase_device_spans WHERE is_shared) AS s
        ON s.phase = p.phase AND s.device_id = w.device_id
),
span AS (
    SELECT phase, device_id, max(last_end_ns) - min(first_start_ns) AS gpu_span_ns
    FROM attribute._phase_device_spans
    GROUP BY phase, device_id
),
shared AS (
    SELECT group_id, busy_ns FROM macros.busy_ns('shared_work')
)
SELECT
    d.phase, d.device_id, any_value(span.gpu_span_ns) AS gpu_span_ns,
    coalesce(any_value(shared.busy_ns), sum(d.gpu_busy_ns))::BIGINT AS gpu_busy_ns
FROM attribute.phase_devices AS d
JOIN span ON span.phase = d.phase AND span.device_id = d.device_id
LEFT JOIN shared ON shared.group_id = json_array(d.phase, d.device_id)::VARCHAR
GROUP BY d.phase, d.device_id
