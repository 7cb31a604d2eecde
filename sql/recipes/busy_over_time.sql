-- How busy is each GPU over time?
-- Buckets from the first to the last busy interval; empty ones are shown.
-- params:
--   width_ns=100000000  Width of a bucket. Unit: ns.
-- columns:
--   device_id  BIGINT  GPU.
--   start_ns   BIGINT  Start of the bucket. Unit: ns.
--   busy_ns    BIGINT  GPU busy time in it. Unit: ns.
--   busy_ratio DOUBLE  busy_ns / width of the bucket.
WITH piece AS (
    SELECT
        device_id, unnest(range(bucket_ns(start_ns, $width_ns), greatest(end_ns, start_ns + 1), $width_ns)) AS bucket,
        start_ns, end_ns
    FROM gpu_busy
),
filled AS (
    SELECT
        device_id, bucket, sum(least(end_ns, bucket + $width_ns) - greatest(start_ns, bucket))::BIGINT AS busy_ns
    FROM piece
    GROUP BY device_id, bucket
),
bucket AS (
    SELECT device_id, unnest(range(min(bucket), max(bucket) + 1, $width_ns)) AS bucket FROM filled GROUP BY device_id
)
SELECT
    b.device_id, b.bucket AS start_ns, coalesce(f.busy_ns, 0) AS busy_ns, coalesce(f.busy_ns, 0) / $width_ns AS busy_ratio
FROM bucket AS b LEFT JOIN filled AS f ON f.device_id = b.device_id AND f.bucket = b.bucket
ORDER BY b.device_id, b.bucket
