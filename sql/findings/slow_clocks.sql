-- Phases whose GPUs ran below their boost clock, as sampled counters say.
-- A twentieth: boost clocks come in steps, and a GPU that works hard gives up a few of them. What waits for memory gains less.
-- Grain: phase.
-- severity: info
-- message: in {place} the SMs run at {clock_mhz:,} MHz, {below_percent}% below the boost clock of {boost_mhz:,} MHz{utilization}
-- hint: `nvidia-smi -q -d PERFORMANCE,CLOCK` says whether power, heat or a clock that somebody set limits it; the class `compute` of
--   `time_budget` shows the effect
-- empty without: load.counter_samples
-- requires: attribute.phase_spending, attribute.phase_counters, load.devices, estimate.counter_checks, estimate.phase_costs
-- columns:
--   phase         VARCHAR The phase.
--   at_stake_ns   BIGINT  The share of its kernel time by which the clock is too low. Unit: ns.
--   budget_part   VARCHAR 'compute'.
--   place         VARCHAR The phase in a sentence.
--   clock_mhz     BIGINT  Mean clock while the phase runs. Unit: MHz.
--   boost_mhz     BIGINT  Boost clock. Unit: MHz.
--   below_percent BIGINT  How far it is below. Unit: percent.
--   utilization   VARCHAR MFU beside that of what the clock allowed, if both are known.
WITH clock AS (
    SELECT
        c.phase, sum(c.sm_clock_hz * c.samples) / sum(c.samples) AS clock_hz,
        sum(d.clock_rate_hz * c.samples) / sum(c.samples) AS boost_hz
    FROM attribute.phase_counters AS c JOIN load.devices AS d USING (device_id)
    -- Fewer say little about a clock that takes milliseconds to change.
    WHERE c.samples >= 10 AND c.sm_clock_hz > 0 AND d.clock_rate_hz > 0
    GROUP BY c.phase
)
SELECT
    s.phase, floor(s.compute_ns * (1 - c.clock_hz / c.boost_hz))::BIGINT AS at_stake_ns, 'compute' AS budget_part, s.place,
    (c.clock_hz / 1e6)::BIGINT AS clock_mhz, (c.boost_hz / 1e6)::BIGINT AS boost_mhz,
    (100 * (1 - c.clock_hz / c.boost_hz))::BIGINT AS below_percent,
    coalesce(
        -- The two shares are of one number of FLOPs: their ratio is that of the clocks.
        format(
            ': {:.1f} % of the peak FLOP/s, which stand for about {:,} MHz, are {:.1f} % of what the measured clock allowed',
            100 * p.mfu_busy, (c.clock_hz * e.estimated_ratio / nullif(p.mfu_busy, 0) / 1e7)::BIGINT * 10, 100 * e.estimated_ratio
        ), ''
    ) AS utilization
FROM attribute.phase_spending AS s JOIN clock AS c ON c.phase = s.phase
LEFT JOIN estimate.counter_checks AS e ON e.phase = s.phase AND e.counter = 'tensor'
LEFT JOIN estimate.phase_costs AS p ON p.phase = s.phase
WHERE 20 * c.clock_hz <= 19 * c.boost_hz AND s.compute_ns * (1 - c.clock_hz / c.boost_hz) >= s.least_ns
