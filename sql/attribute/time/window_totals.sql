-- How long each GPU was measured.
-- Grain: device_id.
-- requires: attribute.windows
-- columns:
--   device_id BIGINT Joins load.devices.
--   window_ns BIGINT Length of its windows together. Unit: ns.
SELECT device_id, sum(end_ns - start_ns)::BIGINT AS window_ns
FROM attribute.windows
GROUP BY device_id
