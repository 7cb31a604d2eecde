-- What the time of a GPU before an instant went to: what phase_lateness compares.
-- Algorithm: work that does not compute adds what of its spans no kernel computes beside; of an open span, what has passed of it.
-- Grain: device_id, at_ns.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication_instants, attribute._compute_until, attribute.training_step_spans, attribute._lone_devices, attribute._other_work_spans, macros.covered
-- columns:
--   device_id  BIGINT  Joins load.devices.
--   at_ns      BIGINT  The instant. Unit: ns.
--   compute_ns BIGINT  Kernels that do not communicate run. Unit: ns.
--   busy_ns    BIGINT  Anything runs. Unit: ns.
--   input_ns   BIGINT  Before the first pass of a training step, busy or not. Unit: ns.
WITH input_wait AS (
    -- On the GPUs of ranks that share theirs with no other rank.
    SELECT a.device_id AS group_id, s.start_ns, s.first_pass_ns AS end_ns
    FROM attribute.training_step_spans AS s JOIN attribute._lone_devices AS a USING (process_key)
    WHERE s.first_pass_ns > s.start_ns
),
span AS (
    SELECT
        s.group_id AS device_id, s.start_ns, s.end_ns, b.compute_ns,
        s.end_ns - s.start_ns - (e.compute_ns - b.compute_ns) AS exposed_ns
    FROM attribute._other_work_spans AS s
    JOIN attribute._compute_until AS b ON b.device_id = s.group_id AND b.at_ns = s.start_ns
    JOIN attribute._compute_until AS e ON e.device_id = s.group_id AND e.at_ns = s.end_ns
),
summed AS (
    SELECT
        *, sum(exposed_ns) OVER (PARTITION BY device_id ORDER BY start_ns ROWS UNBOUNDED PRECEDING) - exposed_ns AS before_ns
    FROM span
)
SELECT
    u.device_id, u.at_ns, u.compute_ns,
    (u.compute_ns + coalesce(
        s.before_ns + CASE
            WHEN u.at_ns >= s.end_ns THEN s.exposed_ns
            ELSE u.at_ns - s.start_ns - (u.compute_ns - s.compute_ns)
        END, 0
    ))::BIGINT AS busy_ns,
    d.covered_ns AS input_ns
FROM attribute._compute_until AS u
JOIN attribute._communication_instants AS i ON i.group_id = u.device_id AND i.end_ns = u.at_ns
JOIN macros.covered('attribute._communication_instants', 'input_wait') AS d ON d.span_id = i.span_id
ASOF LEFT JOIN summed AS s ON s.device_id = u.device_id AND s.start_ns <= u.at_ns
