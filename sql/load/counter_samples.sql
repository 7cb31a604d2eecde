-- Samples of the counters that utilization is checked against, one row per GPU and instant.
-- Their names differ by chip and by version of nsys. A counter that was not sampled is NULL.
-- Grain: lane, window_id; empty where the capture sampled none.
-- materialize: table
-- empty without: load.metric_windows
-- requires: load.gpu_metrics, load.metric_windows
-- columns:
--   lane                BIGINT  GPU. Joins load.devices on device_id.
--   window_id           BIGINT  Joins load.metric_windows.
--   at_ns               BIGINT  When it was sampled. Unit: ns.
--   tensor_active_ratio DOUBLE  Share of cycles in which the tensor pipe of an SM is active, over all SMs.
--   sm_active_ratio     DOUBLE  Share of cycles in which an SM has a warp, over all SMs.
--   sm_issue_ratio      DOUBLE  Share of cycles in which an SM issues an instruction, over all SMs.
--   dram_read_ratio     DOUBLE  Bytes read / peak bandwidth.
--   dram_write_ratio    DOUBLE  Bytes written / peak bandwidth.
--   sm_clock_hz         DOUBLE  Clock of the SMs. Unit: Hz.
WITH named AS (
    SELECT
        metric,
        CASE
            WHEN regexp_matches(metric, '^(SM )?Tensor Active( / FP16 Active)? \[Throughput %\]', 'i') THEN 'tensor'
            WHEN regexp_matches(metric, '^SMs? Active \[Throughput %\]', 'i') THEN 'active'
            WHEN regexp_matches(metric, '^SM Issue \[Throughput %\]', 'i') THEN 'issue'
            WHEN regexp_matches(metric, '^DRAM Read (Bandwidth|Throughput) \[Throughput %\]', 'i') THEN 'read'
            WHEN regexp_matches(metric, '^DRAM Write (Bandwidth|Throughput) \[Throughput %\]', 'i') THEN 'write'
            WHEN regexp_matches(metric, '^GPC Clock Frequency \[M?Hz\]', 'i') THEN 'clock'
        END AS counter
    FROM (SELECT DISTINCT metric FROM load.gpu_metrics)
),
pivoted AS (
    SELECT
        source_id & 255 AS lane, at_ns,
        max("value") FILTER (WHERE counter = 'tensor') AS tensor, max("value") FILTER (WHERE counter = 'active') AS active,
        max("value") FILTER (WHERE counter = 'issue') AS issue, max("value") FILTER (WHERE counter = 'read') AS "read",
        max("value") FILTER (WHERE counter = 'write') AS "write", max("value") FILTER (WHERE counter = 'clock') AS clock
    FROM load.gpu_metrics JOIN named USING (metric)
    WHERE counter IS NOT NULL
    GROUP BY ALL
)
SELECT
    p.lane, w.window_id, p.at_ns, p.tensor / 100 AS tensor_active_ratio, p.active / 100 AS sm_active_ratio,
    p.issue / 100 AS sm_issue_ratio, p.read / 100 AS dram_read_ratio, p.write / 100 AS dram_write_ratio,
    -- The name says MHz, the values are Hz; a clock below 1 MHz would be in MHz after all.
    CASE WHEN p.clock < 1000000 THEN p.clock * 1e6 ELSE p.clock::DOUBLE END AS sm_clock_hz
FROM pivoted AS p
JOIN load.metric_windows AS w ON w.lane = p.lane AND w.start_ns = p.at_ns
