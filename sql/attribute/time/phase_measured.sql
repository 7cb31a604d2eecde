-- Hardware counters of each phase over all of its GPUs: means over samples, or over busy time, of attribute.phase_counters.
-- Grain: phase; empty where the capture sampled no counters.
-- empty without: attribute.phase_counters
-- requires: attribute.phase_counters, macros.weighted_mean
-- columns:
--   phase                    VARCHAR Name of the phase.
--   samples                  BIGINT  Samples whose stamp lies in the phase's busy time.
--   tensor_active_ratio      DOUBLE  Mean over them: share of cycles in which a tensor pipe is active.
--   sm_active_ratio          DOUBLE  Mean over them: share of cycles in which an SM has a warp.
--   sm_issue_ratio           DOUBLE  Mean over them: share of cycles in which an SM issues an instruction.
--   dram_read_ratio          DOUBLE  Mean over them: bytes read / peak bandwidth.
--   dram_write_ratio         DOUBLE  Mean over them: bytes written / peak bandwidth.
--   pcie_rx_ratio            DOUBLE  Mean over them: bytes received over PCIe / peak bandwidth.
--   pcie_tx_ratio            DOUBLE  Mean over them: bytes sent over PCIe / peak bandwidth.
--   nvlink_rx_ratio          DOUBLE  Mean over them: bytes received over NVLink / peak bandwidth.
--   nvlink_tx_ratio          DOUBLE  Mean over them: bytes sent over NVLink / peak bandwidth.
--   sm_clock_hz              DOUBLE  Mean over them: clock of the SMs. Unit: Hz.
--   tensor_active_busy_ratio DOUBLE  Per busy time: tensor pipe active.
--   sm_active_busy_ratio     DOUBLE  Per busy time: SM active.
--   sm_issue_busy_ratio      DOUBLE  Per busy time: SM issuing.
--   dram_read_busy_ratio     DOUBLE  Per busy time: DRAM read.
--   dram_write_busy_ratio    DOUBLE  Per busy time: DRAM written.
--   pcie_rx_busy_ratio       DOUBLE  Per busy time: received over PCIe.
--   pcie_tx_busy_ratio       DOUBLE  Per busy time: sent over PCIe.
--   nvlink_rx_busy_ratio     DOUBLE  Per busy time: received over NVLink.
--   nvlink_tx_busy_ratio     DOUBLE  Per busy time: sent over NVLink.
--   busy_ratio_error         DOUBLE  How far each of them but NVLink's may be off, up or down, because nsys rounds a
--                                    sample up to whole per cents.
--   nvlink_busy_ratio_error  DOUBLE  The same of NVLink's, which nsys gives in up to four parts.
SELECT
    phase, sum(samples)::BIGINT AS samples,
    macros.weighted_mean(tensor_active_ratio, samples, device_id) AS tensor_active_ratio,
    macros.weighted_mean(sm_active_ratio, samples, device_id) AS sm_active_ratio,
    macros.weighted_mean(sm_issue_ratio, samples, device_id) AS sm_issue_ratio,
    macros.weighted_mean(dram_read_ratio, samples, device_id) AS dram_read_ratio,
    macros.weighted_mean(dram_write_ratio, samples, device_id) AS dram_write_ratio,
    macros.weighted_mean(pcie_rx_ratio, samples, device_id) AS pcie_rx_ratio,
    macros.weighted_mean(pcie_tx_ratio, samples, device_id) AS pcie_tx_ratio,
    macros.weighted_mean(nvlink_rx_ratio, samples, device_id) AS nvlink_rx_ratio,
    macros.weighted_mean(nvlink_tx_ratio, samples, device_id) AS nvlink_tx_ratio,
    macros.weighted_mean(sm_clock_hz, samples, device_id) AS sm_clock_hz,
    macros.weighted_mean(tensor_active_busy_ratio, sampled_busy_ns, device_id) AS tensor_active_busy_ratio,
    macros.weighted_mean(sm_active_busy_ratio, sampled_busy_ns, device_id) AS sm_active_busy_ratio,
    macros.weighted_mean(sm_issue_busy_ratio, sampled_busy_ns, device_id) AS sm_issue_busy_ratio,
    macros.weighted_mean(dram_read_busy_ratio, sampled_busy_ns, device_id) AS dram_read_busy_ratio,
    macros.weighted_mean(dram_write_busy_ratio, sampled_busy_ns, device_id) AS dram_write_busy_ratio,
    macros.weighted_mean(pcie_rx_busy_ratio, sampled_busy_ns, device_id) AS pcie_rx_busy_ratio,
    macros.weighted_mean(pcie_tx_busy_ratio, sampled_busy_ns, device_id) AS pcie_tx_busy_ratio,
    macros.weighted_mean(nvlink_rx_busy_ratio, sampled_busy_ns, device_id) AS nvlink_rx_busy_ratio,
    macros.weighted_mean(nvlink_tx_busy_ratio, sampled_busy_ns, device_id) AS nvlink_tx_busy_ratio,
    macros.weighted_mean(busy_ratio_error, sampled_busy_ns, device_id) AS busy_ratio_error,
    macros.weighted_mean(nvlink_busy_ratio_error, sampled_busy_ns, device_id) AS nvlink_busy_ratio_error
FROM attribute.phase_counters
GROUP BY phase
