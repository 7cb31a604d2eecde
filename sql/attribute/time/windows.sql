-- The measured time of each GPU: what its time budget is of.
-- Grain: device_id, start_ns; windows of a GPU neither overlap nor touch.
-- materialize: table
-- requires: macros.islands, attribute._thread_windows
-- columns:
--   device_id BIGINT  Joins load.devices.
--   start_ns  BIGINT  Unit: ns.
--   end_ns    BIGINT  Unit: ns.
WITH thread_window AS (
    SELECT device_id AS group_id, start_ns, end_ns FROM attribute._thread_windows
)
SELECT group_id AS device_id, start_ns, end_ns FROM macros.islands('thread_window')
