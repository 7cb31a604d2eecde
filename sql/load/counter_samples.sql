-- Samples of the counters that utilization is checked against, one row per GPU and stretch of time that a sample stands for:
-- from its stamp to the next one. A counter that was not sampled is NULL.
-- nsys stamps a sample with the start of its stretch: measured on an H100, activity correlates best with the busy time
-- from the stamp to the next one. The last sample of a GPU, and one before a gap, stand for a stretch of the median length.
-- A percentage below 0 or above 200 is none of a counter: such a sample is NULL.
-- Grain: lane, window_id; empty where the capture sampled none.
-- materialize: table
-- empty without: nsys.GPU_METRICS
-- requires: load.gpu_metrics, load._metric_counters, load._metric_devices
-- columns:
--   lane                     BIGINT  GPU. Joins load.devices on device_id.
--   window_id                BIGINT  1, 2, 3, … in time.
--   start_ns                 BIGINT  Stamp of the sample. Unit: ns.
--   end_ns                   BIGINT  End of the stretch. Unit: ns.
--   tensor_active_ratio      DOUBLE  Share of cycles in which the tensor pipe of an SM is active, over all SMs.
--   sm_active_ratio          DOUBLE  Share of cycles in which an SM has a warp, over all SMs.
--   sm_issue_ratio           DOUBLE  Share of cycles in which an SM issues an instruction, over all SMs.
--   dram_read_ratio          DOUBLE  Bytes read / peak bandwidth.
--   dram_write_ratio         DOUBLE  Bytes written / peak bandwidth.
--   pcie_rx_ratio            DOUBLE  Bytes that the GPU received over PCIe / peak bandwidth of one direction.
--   pcie_tx_ratio            DOUBLE  Bytes that it sent over PCIe / peak bandwidth of one direction.
--   nvlink_rx_ratio          DOUBLE  Bytes that it received over NVLink / peak bandwidth of one direction: a sum of rounded parts.
--   nvlink_tx_ratio          DOUBLE  Bytes that it sent over NVLink / peak bandwidth of one direction: a sum of rounded parts.
--   nvlink_rx_rounding_ratio DOUBLE  By how much nvlink_rx_ratio may be rounded up: a per cent for each of its parts that is
--                                    not 0.
--   nvlink_tx_rounding_ratio DOUBLE  By how much nvlink_tx_ratio may be.
--   sm_clock_hz              DOUBLE  Clock of the SMs. Unit: Hz.
WITH pivoted AS (
    SELECT
        d.device_id AS lane, m.at_ns,
        max(least(m.value, 100)) FILTER (WHERE c.counter = 'tensor_active') AS tensor,
        max(least(m.value, 100)) FILTER (WHERE c.counter = 'sm_active') AS active,
        max(least(m.value, 100)) FILTER (WHERE c.counter = 'sm_issue') AS issue,
        max(least(m.value, 100)) FILTER (WHERE c.counter = 'dram_read') AS "read",
        max(least(m.value, 100)) FILTER (WHERE c.counter = 'dram_write') AS "write",
        max(m.value) FILTER (WHERE c.counter = 'sm_clock') AS clock,
        max(least(m.value, 100)) FILTER (WHERE c.counter = 'pcie_rx') AS pcie_rx,
        max(least(m.value, 100)) FILTER (WHERE c.counter = 'pcie_tx') AS pcie_tx,
        sum(m.value) FILTER (WHERE c.counter = 'nvlink_rx') AS nvlink_rx,
        sum(m.value) FILTER (WHERE c.counter = 'nvlink_tx') AS nvlink_tx,
        count(*) FILTER (WHERE c.counter = 'nvlink_rx' AND m.value > 0) AS rx_parts,
        count(*) FILTER (WHERE c.counter = 'nvlink_tx' AND m.value > 0) AS tx_parts
    FROM load.gpu_metrics AS m
    JOIN load._metric_devices AS d ON d.source_id = m.source_id AND d.device_id IS NOT NULL
    LEFT JOIN load._metric_counters AS c
        ON c.source_id = m.source_id AND c.metric_id = m.metric_id AND (c.counter = 'sm_clock' OR m.value BETWEEN 0 AND 200)
    GROUP BY ALL
),
following AS (
    SELECT *, row_number() OVER w AS window_id, lead(at_ns) OVER w AS next_ns
    FROM pivoted
    WINDOW w AS (PARTITION BY lane ORDER BY at_ns)
),
typical AS (
    SELECT lane, median(next_ns - at_ns)::BIGINT AS period_ns FROM following GROUP BY lane
)
SELECT
    f.lane, f.window_id, f.at_ns AS start_ns,
    least(coalesce(f.next_ns, f.at_ns + t.period_ns), f.at_ns + 2 * t.period_ns)::BIGINT AS end_ns,
    f.tensor / 100 AS tensor_active_ratio, f.active / 100 AS sm_active_ratio, f.issue / 100 AS sm_issue_ratio,
    f.read / 100 AS dram_read_ratio, f.write / 100 AS dram_write_ratio, f.pcie_rx / 100 AS pcie_rx_ratio,
    f.pcie_tx / 100 AS pcie_tx_ratio, (f.nvlink_rx / 100)::DOUBLE AS nvlink_rx_ratio,
    (f.nvlink_tx / 100)::DOUBLE AS nvlink_tx_ratio, greatest(f.rx_parts, 1) / 100 AS nvlink_rx_rounding_ratio,
    greatest(f.tx_parts, 1) / 100 AS nvlink_tx_rounding_ratio,
    -- The name says MHz, the values are Hz; a clock below 1 MHz would be in MHz after all.
    CASE WHEN f.clock < 1000000 THEN f.clock * 1e6 ELSE f.clock::DOUBLE END AS sm_clock_hz
FROM following AS f JOIN typical AS t USING (lane)
WHERE t.period_ns > 0 AND f.at_ns IS NOT NULL
