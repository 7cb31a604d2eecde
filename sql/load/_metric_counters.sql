-- Which of nsys' metrics is which counter. Names differ by chip, by set of metrics and by version of nsys, and those of
-- 2021 and 2022 have no unit; a name that is not here is none. Turing has one counter for its tensor and its fp16 pipe.
-- nsys gives NVLink's traffic in up to four parts, all of them of the same peak: requests and responses, user data and
-- what the protocol adds. PCIe's holds the protocol, too.
-- Grain: source_id, metric_id.
-- requires: nsys.TARGET_INFO_GPU_METRICS
-- columns:
--   source_id BIGINT   Joins load.gpu_metrics.
--   metric_id BIGINT   Joins load.gpu_metrics.
--   counter   VARCHAR  'tensor_active', 'sm_active', 'sm_issue', 'dram_read', 'dram_write', 'pcie_rx', 'pcie_tx',
--                      'nvlink_rx', 'nvlink_tx' or 'sm_clock'.
WITH plain AS (
    SELECT
        typeId AS source_id, metricId AS metric_id,
        -- Without the unit, if it is the usual one of a share or of a clock: the same counter has rows in other units, too.
        regexp_replace(metricName, '\s*\[(Throughput %|M?Hz)\]\s*$', '', 'i') AS "name"
    FROM nsys.TARGET_INFO_GPU_METRICS
),
named AS (
    SELECT
        source_id, metric_id,
        CASE
            WHEN regexp_matches("name", '^((SM )?Tensor Active( / FP16 Active)?|SM FP16\+Tensor Pipe Throughput)$', 'i')
                THEN 'tensor_active'
            WHEN regexp_matches("name", '^SMs? Active$', 'i') THEN 'sm_active'
            WHEN regexp_matches("name", '^SM Issue( Active)?$', 'i') THEN 'sm_issue'
            WHEN regexp_matches("name", '^(DRAM|VRAM|GPU Memory) Read (Bandwidth|Throughput)$', 'i') THEN 'dram_read'
            WHEN regexp_matches("name", '^(DRAM|VRAM|GPU Memory) Write (Bandwidth|Throughput)$', 'i') THEN 'dram_write'
            WHEN regexp_matches("name", '^PCIe (RX|Read) (Bandwidth|Throughput)$', 'i') THEN 'pcie_rx'
            WHEN regexp_matches("name", '^PCIe (TX|Write) (Bandwidth|Throughput)$', 'i') THEN 'pcie_tx'
            WHEN regexp_matches(
                "name", '^NVLink (RX ((Requests|Responses) (Protocol|User) Data|Bandwidth|Throughput)|bytes received)$', 'i'
            ) THEN 'nvlink_rx'
            WHEN regexp_matches(
                "name", '^NVLink (TX ((Requests|Responses) (Protocol|User) Data|Bandwidth|Throughput)|bytes transmitted)$', 'i'
            ) THEN 'nvlink_tx'
            WHEN regexp_matches("name", '^GPC Clock Frequency$', 'i') THEN 'sm_clock'
        END AS counter
    FROM plain
)
SELECT source_id, metric_id, any_value(counter) AS counter
FROM named
WHERE counter IS NOT NULL
GROUP BY source_id, metric_id
