-- What the estimate of each phase says beside what the hardware counters say, per GPU busy time.
-- The tensor pipe must be active for the products' share of what the measured clock allows: MFU × the clock of the peak /
-- the measured clock. DRAM must move the minimum bytes: MBU. Only phases whose measured occurrences all have a shape.
-- Grain: phase, counter; empty without samples or FLOPs.
-- empty without: load.counter_samples
-- requires: attribute.phase_counters, attribute.phase_measured, estimate.phase_costs, input.peaks, load.devices
-- columns:
--   phase           VARCHAR  Name of the phase.
--   counter         VARCHAR  'tensor' or 'dram'.
--   measured_ratio  DOUBLE   Of the busy time: tensor pipe active; of peak bandwidth: read and written.
--   error_ratio     DOUBLE   How far that may be off, up or down.
--   estimated_ratio DOUBLE   What the estimate needs at least.
--   executed_ratio  DOUBLE   The same of what an eager implementation runs: a full attention mask. For DRAM the same as
--                            estimated_ratio.
--   limit           VARCHAR  'compute' or 'memory': which of the two takes longer at peak.
--   busy_ns         BIGINT   GPU busy time that samples cover. Unit: ns.
--   tokens_per_pass DOUBLE   Mean of tokens that go through the model in a pass.
WITH covered AS (
    SELECT phase, sum(sampled_busy_ns)::BIGINT AS busy_ns FROM attribute.phase_counters GROUP BY phase
),
hardware AS (
    SELECT
        max(peak_clock_hz) AS peak_clock_hz, max(flops_per_s) FILTER (WHERE dtype = 'fp16') AS tensor_flops_per_s
    FROM input.peaks
    WHERE device_id IN (SELECT device_id FROM load.devices WHERE has_work)
    -- One denominator needs GPUs of one kind.
    HAVING count(DISTINCT peak_clock_hz) = 1 AND count(DISTINCT CASE WHEN dtype = 'fp16' THEN flops_per_s END) = 1
),
known AS (
    SELECT
        m.*, c.mfu_busy * h.peak_clock_hz / m.sm_clock_hz AS mfu_clock, c.hfu_busy * h.peak_clock_hz / m.sm_clock_hz AS hfu_clock,
        c.mbu_busy, CASE WHEN c.compute_ns > c.memory_ns THEN 'compute' ELSE 'memory' END AS bound, o.busy_ns,
        c.tokens * c.sharing_ranks / c.measured_occurrences AS tokens_per_pass,
        -- Products of fp32 do not use the tensor pipe.
        c.flops / nullif(c.compute_ns, 0) * 1e9 >= 0.9 * h.tensor_flops_per_s AS is_tensor
    FROM attribute.phase_measured AS m
    JOIN covered AS o USING (phase)
    JOIN estimate.phase_costs AS c USING (phase)
    LEFT JOIN hardware AS h ON true
    WHERE abs(o.busy_ns - c.gpu_busy_ns) <= 0.05 * c.gpu_busy_ns
)
SELECT
    phase, 'tensor' AS counter, tensor_active_busy_ratio AS measured_ratio, busy_ratio_error AS error_ratio,
    mfu_clock AS estimated_ratio, greatest(mfu_clock, hfu_clock) AS executed_ratio, bound AS "limit", busy_ns, tokens_per_pass
FROM known
WHERE is_tensor AND mfu_clock IS NOT NULL AND tensor_active_busy_ratio IS NOT NULL
UNION ALL
SELECT
    phase, 'dram', dram_read_busy_ratio + dram_write_busy_ratio, 2 * busy_ratio_error, mbu_busy, mbu_busy, bound, busy_ns,
    tokens_per_pass
FROM known
WHERE mbu_busy IS NOT NULL AND dram_read_busy_ratio IS NOT NULL AND dram_write_busy_ratio IS NOT NULL
