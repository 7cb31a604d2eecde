-- GPUs on which one rank alone works.
-- Grain: device_id.
-- requires: load.ranks
-- columns:
--   device_id   BIGINT  Joins load.devices.
--   process_key BIGINT  The rank's process. Joins load.ranks.
SELECT device_id, any_value(process_key) AS process_key
FROM (SELECT unnest(device_ids) AS device_id, process_key FROM load.ranks)
GROUP BY device_id
HAVING count(*) = 1
