-- Means of hardware counters over stretches of time, as a chart shows them.
-- Grain: lane, at_ns; a counter that was not sampled is NULL.
-- params: samples, width_ns
-- requires:
-- columns:
--   lane                BIGINT  GPU. Copied from `samples`, which has the columns of load.counter_samples.
--   at_ns               BIGINT  Start of the stretch. Unit: ns.
--   tensor_active_ratio DOUBLE  Mean share of cycles in which the tensor pipe is active.
--   sm_active_ratio     DOUBLE  Mean share of cycles in which an SM has a warp.
--   sm_issue_ratio      DOUBLE  Mean share of cycles in which an SM issues an instruction.
--   dram_read_ratio     DOUBLE  Mean of bytes read / peak bandwidth.
--   dram_write_ratio    DOUBLE  Mean of bytes written / peak bandwidth.
--   pcie_rx_ratio       DOUBLE  Mean of bytes received over PCIe / peak bandwidth.
--   pcie_tx_ratio       DOUBLE  Mean of bytes sent over PCIe / peak bandwidth.
--   nvlink_rx_ratio     DOUBLE  Mean of bytes received over NVLink / peak bandwidth.
--   nvlink_tx_ratio     DOUBLE  Mean of bytes sent over NVLink / peak bandwidth.
SELECT
    lane, start_ns - start_ns % width_ns AS at_ns, avg(tensor_active_ratio) AS tensor_active_ratio,
    avg(sm_active_ratio) AS sm_active_ratio, avg(sm_issue_ratio) AS sm_issue_ratio, avg(dram_read_ratio) AS dram_read_ratio,
    avg(dram_write_ratio) AS dram_write_ratio, avg(pcie_rx_ratio) AS pcie_rx_ratio, avg(pcie_tx_ratio) AS pcie_tx_ratio,
    avg(nvlink_rx_ratio) AS nvlink_rx_ratio, avg(nvlink_tx_ratio) AS nvlink_tx_ratio
FROM query_table(samples)
GROUP BY ALL
