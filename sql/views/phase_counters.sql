-- Hardware counters of each phase, joined to it by GPU and time: what the estimate can be checked against.
-- *_ratio: plain mean of the samples in the phase's busy time; too low between short kernels, whose samples hold idle time.
-- *_busy_ratio: what the counters summed up while the phase ran, per busy time; true to busy_ratio_error. Warm-up left out.
-- A counter is NULL if no sample has it; `from missing_counters` says why.
-- Grain: phase, device_id; empty where the capture sampled no counters (`llmperf capture --gpu-metrics`).
-- requires: attribute.phase_counters
-- columns:
--   phase                    VARCHAR Name of the phase.
--   device_id                BIGINT  Joins load.devices.
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
--   sampled_busy_ns          BIGINT  Busy time of the phase that samples cover. Unit: ns.
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
--                                      sample up to whole per cents. Large for a phase of short kernels with idle time between them.
--   nvlink_busy_ratio_error  DOUBLE  The same of NVLink's, which nsys gives in up to four parts.
SELECT
    phase, device_id, samples, tensor_active_ratio, sm_active_ratio, sm_issue_ratio, dram_read_ratio, dram_write_ratio,
    pcie_rx_ratio, pcie_tx_ratio, nvlink_rx_ratio, nvlink_tx_ratio, sm_clock_hz, sampled_busy_ns,
    tensor_active_busy_ratio, sm_active_busy_ratio, sm_issue_busy_ratio, dram_read_busy_ratio,
    dram_write_busy_ratio, pcie_rx_busy_ratio, pcie_tx_busy_ratio, nvlink_rx_busy_ratio, nvlink_tx_busy_ratio, busy_ratio_error, nvlink_busy_ratio_error
FROM attribute.phase_counters
