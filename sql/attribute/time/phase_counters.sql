-- Hardware counters of each phase on each GPU, warm-up left out, in two ways.
-- *_ratio: the plain mean of the samples whose stamp lies in the phase's busy time. A sample stands for a stretch of time
-- that may hold idle time and other phases, too, so between short kernels it is too low.
-- *_busy_ratio: what the counter summed up in the stretches in which the phase ran, each stretch shared among all
-- that is busy in it (other phases, warm-up, work outside the phases) by busy time, per busy time of the phase. nsys
-- rounds a sample up to whole per cents (measured: 1 where next to nothing ran), so half a per cent is taken off.
-- Grain: phase, device_id; empty where the capture sampled no counters.
-- materialize: table
-- empty without: load.counter_samples
-- requires: load.counter_samples, attribute._phase_islands, macros.window_shares, macros.counted_ns
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
WITH busy AS (
    SELECT * FROM macros.window_shares('attribute._phase_islands', 'load.counter_samples')
),
everyone AS (
    SELECT lane, window_id, sum(overlap_ns)::BIGINT AS overlap_ns FROM busy GROUP BY lane, window_id
),
placed AS (
    SELECT
        s.*, b.group_id, b.overlap_ns, b.is_at_start, (s.end_ns - s.start_ns) * (b.overlap_ns / e.overlap_ns) AS share_ns
    FROM busy AS b
    JOIN everyone AS e ON e.lane = b.lane AND e.window_id = b.window_id
    JOIN load.counter_samples AS s ON s.lane = b.lane AND s.window_id = b.window_id
    WHERE b.group_id IS NOT NULL
),
summed AS (
    SELECT
        group_id, lane, count(*) FILTER (WHERE is_at_start) AS samples, sum(overlap_ns)::BIGINT AS busy_ns,
        -- Integers, too: a per cent of a per cent, and Hz.
        avg((1e4 * tensor_active_ratio)::BIGINT) FILTER (WHERE is_at_start) AS tensor_active,
        avg((1e4 * sm_active_ratio)::BIGINT) FILTER (WHERE is_at_start) AS sm_active,
        avg((1e4 * sm_issue_ratio)::BIGINT) FILTER (WHERE is_at_start) AS sm_issue,
        avg((1e4 * dram_read_ratio)::BIGINT) FILTER (WHERE is_at_start) AS dram_read,
        avg((1e4 * dram_write_ratio)::BIGINT) FILTER (WHERE is_at_start) AS dram_write,
        avg((1e4 * pcie_rx_ratio)::BIGINT) FILTER (WHERE is_at_start) AS pcie_rx,
        avg((1e4 * pcie_tx_ratio)::BIGINT) FILTER (WHERE is_at_start) AS pcie_tx,
        avg((1e4 * nvlink_rx_ratio)::BIGINT) FILTER (WHERE is_at_start) AS nvlink_rx,
        avg((1e4 * nvlink_tx_ratio)::BIGINT) FILTER (WHERE is_at_start) AS nvlink_tx,
        avg(sm_clock_hz::BIGINT) FILTER (WHERE is_at_start) AS sm_clock_hz,
        macros.counted_ns(tensor_active_ratio, 0.01, share_ns) AS tensor_active_ns,
        macros.counted_ns(sm_active_ratio, 0.01, share_ns) AS sm_active_ns,
        macros.counted_ns(sm_issue_ratio, 0.01, share_ns) AS sm_issue_ns,
        macros.counted_ns(dram_read_ratio, 0.01, share_ns) AS dram_read_ns,
        macros.counted_ns(dram_write_ratio, 0.01, share_ns) AS dram_write_ns,
        macros.counted_ns(pcie_rx_ratio, 0.01, share_ns) AS pcie_rx_ns,
        macros.counted_ns(pcie_tx_ratio, 0.01, share_ns) AS pcie_tx_ns,
        macros.counted_ns(nvlink_rx_ratio, nvlink_rx_rounding_ratio, share_ns) AS nvlink_rx_ns,
        macros.counted_ns(nvlink_tx_ratio, nvlink_tx_rounding_ratio, share_ns) AS nvlink_tx_ns,
        macros.counted_ns(0.005, 0, share_ns) AS error_ns,
        greatest(
            macros.counted_ns(CASE WHEN nvlink_rx_ratio IS NOT NULL THEN nvlink_rx_rounding_ratio / 2 END, 0, share_ns),
            macros.counted_ns(CASE WHEN nvlink_tx_ratio IS NOT NULL THEN nvlink_tx_rounding_ratio / 2 END, 0, share_ns)
        ) AS nvlink_error_ns
    FROM placed
    GROUP BY group_id, lane
)
SELECT
    group_id AS phase, lane AS device_id, samples,
    tensor_active / 1e4 AS tensor_active_ratio,
    sm_active / 1e4 AS sm_active_ratio,
    sm_issue / 1e4 AS sm_issue_ratio,
    dram_read / 1e4 AS dram_read_ratio,
    dram_write / 1e4 AS dram_write_ratio,
    pcie_rx / 1e4 AS pcie_rx_ratio,
    pcie_tx / 1e4 AS pcie_tx_ratio,
    nvlink_rx / 1e4 AS nvlink_rx_ratio,
    nvlink_tx / 1e4 AS nvlink_tx_ratio,
    sm_clock_hz, busy_ns AS sampled_busy_ns,
    tensor_active_ns / busy_ns AS tensor_active_busy_ratio,
    sm_active_ns / busy_ns AS sm_active_busy_ratio,
    sm_issue_ns / busy_ns AS sm_issue_busy_ratio,
    dram_read_ns / busy_ns AS dram_read_busy_ratio,
    dram_write_ns / busy_ns AS dram_write_busy_ratio,
    pcie_rx_ns / busy_ns AS pcie_rx_busy_ratio,
    pcie_tx_ns / busy_ns AS pcie_tx_busy_ratio,
    nvlink_rx_ns / busy_ns AS nvlink_rx_busy_ratio,
    nvlink_tx_ns / busy_ns AS nvlink_tx_busy_ratio,
    error_ns / busy_ns AS busy_ratio_error, nvlink_error_ns / busy_ns AS nvlink_busy_ratio_error
FROM summed
