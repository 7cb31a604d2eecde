-- Idle time of each GPU before an operation, as far as it lies before the phase's range that launched it: between steps.
-- Only with requests: without them the measured time begins with each range.
-- Grain: device_id, start_ns; absent where the range is open already.
-- materialize: table
-- empty without: attribute._request_spans
-- requires: attribute._device_order, attribute.phase_ranges, attribute._request_spans
-- columns:
--   device_id     BIGINT Joins load.devices.
--   occurrence_id BIGINT Phase of the operation. Joins attribute.phase_ranges.
--   start_ns      BIGINT Last end of what ran before. Unit: ns.
--   end_ns        BIGINT Start of the range, or of the operation if that is before. Unit: ns.
SELECT o.device_id::BIGINT AS device_id, o.occurrence_id, o.reach_ns AS start_ns, least(o.start_ns, p.start_ns) AS end_ns
FROM attribute._device_order AS o JOIN attribute.phase_ranges AS p USING (occurrence_id)
WHERE o.end_ns IS NOT NULL AND o.reach_ns < least(o.start_ns, p.start_ns) AND (SELECT count(*) FROM attribute._request_spans) > 0
