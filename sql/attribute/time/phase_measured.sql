-- Hardware counters of each phase over all of its GPUs: means over samples, or over busy time, of attribute.phase_counters.
-- Grain: phase; empty where the capture sampled no counters.
-- requires: attribute.phase_counters
-- columns:
--   phase                    VARCHAR  Name of the phase.
--   samples                  BIGINT   Samples whose stamp lies in the phase's busy time.
--   tensor_active_ratio      DOUBLE   Mean over them: share of cycles in which a tensor pipe is active.
--   sm_active_ratio          DOUBLE   Mean over them: share of cycles in which an SM has a warp.
--   sm_issue_ratio           DOUBLE   Mean over them: share of cycles in which an SM issues an instruction.
--   dram_read_ratio          DOUBLE   Mean over them: bytes read / peak bandwidth.
--   dram_write_ratio         DOUBLE   Mean over them: bytes written / peak bandwidth.
--   sm_clock_hz              DOUBLE   Mean over them: clock of the SMs. Unit: Hz.
--   tensor_active_busy_ratio DOUBLE   Per busy time: tensor pipe active.
--   sm_active_busy_ratio     DOUBLE   Per busy time: SM active.
--   sm_issue_busy_ratio      DOUBLE   Per busy time: SM issuing.
--   dram_read_busy_ratio     DOUBLE   Per busy time: DRAM read.
--   dram_write_busy_ratio    DOUBLE   Per busy time: DRAM written.
--   busy_ratio_error         DOUBLE   How far each of those may be off, up or down.
SELECT
    phase, sum(samples)::BIGINT AS samples,
    sum(tensor_active_ratio * samples ORDER BY device_id) / nullif(sum(samples), 0) AS tensor_active_ratio,
    sum(sm_active_ratio * samples ORDER BY device_id) / nullif(sum(samples), 0) AS sm_active_ratio,
    sum(sm_issue_ratio * samples ORDER BY device_id) / nullif(sum(samples), 0) AS sm_issue_ratio,
    sum(dram_read_ratio * samples ORDER BY device_id) / nullif(sum(samples), 0) AS dram_read_ratio,
    sum(dram_write_ratio * samples ORDER BY device_id) / nullif(sum(samples), 0) AS dram_write_ratio,
    sum(sm_clock_hz * samples ORDER BY device_id) / nullif(sum(samples), 0) AS sm_clock_hz,
    sum(tensor_active_busy_ratio * sampled_busy_ns ORDER BY device_id) / sum(sampled_busy_ns) AS tensor_active_busy_ratio,
    sum(sm_active_busy_ratio * sampled_busy_ns ORDER BY device_id) / sum(sampled_busy_ns) AS sm_active_busy_ratio,
    sum(sm_issue_busy_ratio * sampled_busy_ns ORDER BY device_id) / sum(sampled_busy_ns) AS sm_issue_busy_ratio,
    sum(dram_read_busy_ratio * sampled_busy_ns ORDER BY device_id) / sum(sampled_busy_ns) AS dram_read_busy_ratio,
    sum(dram_write_busy_ratio * sampled_busy_ns ORDER BY device_id) / sum(sampled_busy_ns) AS dram_write_busy_ratio,
    sum(busy_ratio_error * sampled_busy_ns ORDER BY device_id) / sum(sampled_busy_ns) AS busy_ratio_error
FROM attribute.phase_counters
GROUP BY phase
