-- Time of each GPU cut wherever a window may open or close, or a bucket of time starts: which ranges count is decided later,
-- and picks whole slots.
-- Grain: slot.
-- materialize: table
-- requires: attribute._window_ranges, attribute.time_buckets
-- columns:
--   device_id BIGINT    Joins load.devices.
--   slot      UINTEGER  1, 2, 3, … by GPU and time.
--   start_ns  BIGINT    First instant. Unit: ns.
--   end_ns    BIGINT    Start of the GPU's next slot, NULL in the last. Unit: ns.
WITH cut AS (
    SELECT device_id, start_ns AS at_ns FROM attribute._window_ranges
    UNION
    SELECT device_id, until_ns FROM attribute._window_ranges
    UNION
    SELECT r.device_id, b.start_ns
    FROM attribute.time_buckets AS b JOIN attribute._window_ranges AS r ON r.start_ns < b.start_ns AND b.start_ns < r.until_ns
    WHERE r.kind = 'trace'
)
SELECT
    device_id, (row_number() OVER (ORDER BY device_id, at_ns))::UINTEGER AS slot, at_ns AS start_ns, lead(at_ns) OVER sweep AS end_ns
FROM cut
WINDOW sweep AS (PARTITION BY device_id ORDER BY at_ns)
