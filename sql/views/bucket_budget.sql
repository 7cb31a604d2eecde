-- The time budget of a trace without phases and requests, bucket by bucket: the rows of each class add up to time_budget's.
-- The buckets are at most 20, equally long, and the same for all GPUs. Empty if the trace has phases or requests: their
-- budgets are in time_budget and occurrence_budget.
-- Grain: device_id, bucket, class; classes without time are absent.
-- empty without: attribute.time_buckets
-- requires: attribute.time_buckets, attribute._slot_times, attribute._window_slots
-- columns:
--   device_id BIGINT  GPU. Joins devices.
--   bucket    BIGINT  0, 1, 2, … by time.
--   start_ns  BIGINT  First instant of the bucket. Unit: ns.
--   end_ns    BIGINT  Start of the next one; the last ends with the last work. Unit: ns.
--   class     VARCHAR See time_budget.
--   time_ns   BIGINT  Unit: ns.
SELECT t.device_id, b.bucket, b.start_ns, b.end_ns, t.class, sum(t.time_ns)::BIGINT AS time_ns
FROM attribute._slot_times AS t
JOIN attribute._window_slots AS s USING (device_id, slot)
JOIN attribute.time_buckets AS b ON b.start_ns <= s.start_ns AND s.start_ns < b.end_ns
GROUP BY ALL
