-- Which streams are used, and how much runs side by side?
-- concurrency is the work of a GPU divided by the time it was busy: 1 where nothing overlaps.
-- columns:
--   device_id      BIGINT  GPU.
--   process_id     BIGINT  Operating-system pid: each numbers its streams.
--   stream_id      BIGINT  CUDA stream.
--   op_count       BIGINT  Kernels, copies, fills and graphs.
--   time_ns        BIGINT  Sum of their durations. Unit: ns.
--   busy_ns        BIGINT  Time in which the stream was busy. Unit: ns.
--   device_busy_ns BIGINT  Time in which its GPU was busy. Unit: ns.
--   concurrency    DOUBLE  Work of the whole GPU / device_busy_ns.
WITH by_stream AS (
    SELECT (device_id, process_id, stream_id) AS group_id, start_ns, end_ns FROM gpu_work
),
by_device AS (
    SELECT device_id AS group_id, start_ns, end_ns FROM gpu_work
),
total AS (
    SELECT
        device_id, process_id, stream_id, count(*) AS op_count, sum(dur_ns)::BIGINT AS time_ns,
        sum(sum(dur_ns)) OVER (PARTITION BY device_id) AS device_time_ns
    FROM gpu_work
    GROUP BY device_id, process_id, stream_id
)
SELECT
    t.device_id, t.process_id, t.stream_id, t.op_count, t.time_ns, s.busy_ns, d.busy_ns AS device_busy_ns,
    (t.device_time_ns / nullif(d.busy_ns, 0))::DOUBLE AS concurrency
FROM total AS t
JOIN busy_ns('by_stream') AS s ON s.group_id IS NOT DISTINCT FROM (t.device_id, t.process_id, t.stream_id)
JOIN busy_ns('by_device') AS d ON d.group_id IS NOT DISTINCT FROM t.device_id
ORDER BY t.device_id, t.time_ns DESC, t.process_id, t.stream_id
