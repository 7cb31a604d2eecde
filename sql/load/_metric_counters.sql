-- Which of nsys' metrics is which counter. Names differ by chip and by version of nsys; a name that is not here is none.
-- nsys gives NVLink's traffic in up to four parts, all of them of the same peak: requests and responses, user data and
-- what the protocol adds. PCIe's holds the protocol, too.
-- Grain: source_id, metric_id.
-- requires: nsys.TARGET_INFO_GPU_METRICS
-- columns:
--   source_id BIGINT   Joins load.gpu_metrics.
--   metric_id BIGINT   Joins load.gpu_metrics.
--   counter   VARCHAR  'tensor_active', 'sm_active', 'sm_issue', 'dram_read', 'dram_write', 'pcie_rx', 'pcie_tx',
--                      'nvlink_rx', 'nvlink_tx' or 'sm_clock'.
WITH named AS (
    SELECT
        typeId AS source_id, metricId AS metric_id,
        CASE
            WHEN regexp_matches(metricName, '^(SM )?Tensor Active( / FP16 Active)? \[Throughput %\]', 'i') THEN 'tensor_active'
            WHEN regexp_matches(metricName, '^SMs? Active \[Throughput %\]', 'i') THEN 'sm_active'
            WHEN regexp_matches(metricName, '^SM Issue \[Throughput %\]', 'i') THEN 'sm_issue'
            WHEN regexp_matches(metricName, '^DRAM Read (Bandwidth|Throughput) \[Throughput %\]', 'i') THEN 'dram_read'
            WHEN regexp_matches(metricName, '^DRAM Write (Bandwidth|Throughput) \[Throughput %\]', 'i') THEN 'dram_write'
            WHEN regexp_matches(metricName, '^PCIe (RX|Read) (Bandwidth|Throughput) \[Throughput %\]', 'i') THEN 'pcie_rx'
            WHEN regexp_matches(metricName, '^PCIe (TX|Write) (Bandwidth|Throughput) \[Throughput %\]', 'i') THEN 'pcie_tx'
            WHEN regexp_matches(
                metricName, '^NVLink RX ((Requests|Responses) (Protocol|User) Data|Bandwidth|Throughput) \[Throughput %\]', 'i'
            ) THEN 'nvlink_rx'
            WHEN regexp_matches(
                metricName, '^NVLink TX ((Requests|Responses) (Protocol|User) Data|Bandwidth|Throughput) \[Throughput %\]', 'i'
            ) THEN 'nvlink_tx'
            WHEN regexp_matches(metricName, '^GPC Clock Frequency \[M?Hz\]', 'i') THEN 'sm_clock'
        END AS counter
    FROM nsys.TARGET_INFO_GPU_METRICS
)
SELECT source_id, metric_id, any_value(counter) AS counter
FROM named
WHERE counter IS NOT NULL
GROUP BY source_id, metric_id
