-- Phases in which the SMs ran more than a twentieth below their boost clock while the GPU was busy: power or heat, mostly.
-- Clocks are the mean over samples in the phase's busy time, ten of them at least.
-- Grain: phase, device_id.
-- severity: info
-- message: in {phase} the SMs of GPU {device_id} ran at {clock_mhz:,} MHz of {boost_mhz:,} while it was busy{utilization}
-- hint: power and heat hold clocks down, and so do clocks that someone set: see `nvidia-smi -q -d PERFORMANCE` while it runs
-- empty without: load.metric_windows
-- requires: attribute.phase_counters, load.devices, estimate.counter_checks, estimate.phase_costs
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Busy time that the boost clock would save at most. Unit: ns.
--   device_id   BIGINT  The GPU.
--   clock_mhz   BIGINT  Its mean clock.
--   boost_mhz   BIGINT  Its boost clock.
--   utilization VARCHAR MFU beside that of what the clock allowed, if both are known.
SELECT
    m.phase, (m.sampled_busy_ns * (1 - m.sm_clock_hz / d.clock_rate_hz))::BIGINT AS at_stake_ns, m.device_id,
    round(m.sm_clock_hz / 1e6)::BIGINT AS clock_mhz, round(d.clock_rate_hz / 1e6)::BIGINT AS boost_mhz,
    coalesce(
        printf(': %.1f %% of peak FLOP/s are %.1f %% of what the clock allowed', 100 * c.mfu_busy, 100 * e.estimated_ratio), ''
    ) AS utilization
FROM attribute.phase_counters AS m
JOIN load.devices AS d USING (device_id)
LEFT JOIN estimate.counter_checks AS e ON e.phase = m.phase AND e.counter = 'tensor'
LEFT JOIN estimate.phase_costs AS c ON c.phase = m.phase
WHERE m.samples >= 10 AND m.sm_clock_hz < 0.95 * d.clock_rate_hz
