-- Phases whose GPUs ran below their boost clock, as sampled counters say.
-- A twentieth: boost clocks come in steps, and a GPU that works hard gives up a few of them. What waits for memory gains less.
-- Grain: phase.
-- severity: info
-- message: in {place} the SMs run at {clock_mhz:,} MHz, {below_percent}% below the boost clock of {boost_mhz:,} MHz{when_slow}{utilization}
-- hint: `nvidia-smi -q -d PERFORMANCE,CLOCK` says whether power, heat or a clock that somebody set limits it; the class `compute` of
--   `time_budget` shows the effect
-- empty without: load.counter_samples
-- requires: attribute.phase_spending, attribute.phase_counters, attribute._phase_islands, load.counter_samples, load.devices,
--   estimate.counter_checks, estimate.phase_costs, macros.window_shares
-- columns:
--   phase         VARCHAR The phase.
--   at_stake_ns   BIGINT  The share of its kernel time by which the clock is too low. Unit: ns.
--   budget_part   VARCHAR 'compute'.
--   place         VARCHAR The phase in a sentence.
--   clock_mhz     BIGINT  Mean clock while the phase runs. Unit: MHz.
--   boost_mhz     BIGINT  Boost clock. Unit: MHz.
--   below_percent BIGINT  How far it is below. Unit: percent.
--   when_slow     VARCHAR Its samples a twentieth or more below it, and the first and the last of them; '' if these are all.
--   utilization   VARCHAR MFU beside that of what the clock allowed, if both are known.
WITH clock AS (
    SELECT
        c.phase, sum(c.sm_clock_hz * c.samples) / sum(c.samples) AS clock_hz,
        sum(d.clock_rate_hz * c.samples) / sum(c.samples) AS boost_hz
    FROM attribute.phase_counters AS c JOIN load.devices AS d USING (device_id)
    -- Fewer say little about a clock that takes milliseconds to change.
    WHERE c.samples >= 10 AND c.sm_clock_hz > 0 AND d.clock_rate_hz > 0
    GROUP BY c.phase
),
slow AS (
    SELECT
        b.group_id AS phase, count(*) AS samples,
        count(*) FILTER (WHERE 20 * s.sm_clock_hz <= 19 * d.clock_rate_hz) AS slow_samples,
        min(s.start_ns) FILTER (WHERE 20 * s.sm_clock_hz <= 19 * d.clock_rate_hz) AS first_ns,
        max(s.end_ns) FILTER (WHERE 20 * s.sm_clock_hz <= 19 * d.clock_rate_hz) AS last_ns
    FROM macros.window_shares('attribute._phase_islands', 'load.counter_samples') AS b
    JOIN load.counter_samples AS s ON s.lane = b.lane AND s.window_id = b.window_id
    JOIN load.devices AS d ON d.device_id = b.lane
    WHERE b.is_at_start AND s.sm_clock_hz > 0 AND d.clock_rate_hz > 0
    GROUP BY b.group_id
)
SELECT
    s.phase, floor(s.compute_ns * (1 - c.clock_hz / c.boost_hz))::BIGINT AS at_stake_ns, 'compute' AS budget_part, s.place,
    (c.clock_hz / 1e6)::BIGINT AS clock_mhz, (c.boost_hz / 1e6)::BIGINT AS boost_mhz,
    (100 * (1 - c.clock_hz / c.boost_hz))::BIGINT AS below_percent,
    CASE
        WHEN w.slow_samples BETWEEN 1 AND w.samples - 1
            THEN format(
                ' (by 5 % or more in {:.0f} % of the samples, {:.3f} to {:.3f} s into the recording)', 100 * w.slow_samples / w.samples,
                w.first_ns / 1e9, w.last_ns / 1e9
            )
        ELSE ''
    END AS when_slow,
    coalesce(
        -- The two shares are of one number of FLOPs: their ratio is that of the clocks.
        format(
            ': {:.1f} % of the peak FLOP/s, which stand for about {:,} MHz, are {:.1f} % of what the measured clock allowed',
            100 * p.mfu_busy, (c.clock_hz * e.estimated_ratio / nullif(p.mfu_busy, 0) / 1e7)::BIGINT * 10, 100 * e.estimated_ratio
        ), ''
    ) AS utilization
FROM attribute.phase_spending AS s JOIN clock AS c ON c.phase = s.phase
LEFT JOIN slow AS w ON w.phase = s.phase
LEFT JOIN estimate.counter_checks AS e ON e.phase = s.phase AND e.counter = 'tensor'
LEFT JOIN estimate.phase_costs AS p ON p.phase = s.phase
WHERE 20 * c.clock_hz <= 19 * c.boost_hz AND s.compute_ns * (1 - c.clock_hz / c.boost_hz) >= s.least_ns
