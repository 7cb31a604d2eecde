-- How long kernels that do not communicate have run on a GPU before an instant.
-- Grain: device_id, at_ns.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication_instants, attribute._compute_beside, macros.covered
-- columns:
--   device_id  BIGINT  Joins load.devices.
--   at_ns      BIGINT  The instant. Unit: ns.
--   compute_ns BIGINT  Unit: ns.
SELECT s.group_id AS device_id, s.end_ns AS at_ns, c.covered_ns AS compute_ns
FROM attribute._communication_instants AS s
JOIN macros.covered('attribute._communication_instants', 'attribute._compute_beside') AS c USING (span_id)
