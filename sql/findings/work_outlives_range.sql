-- Phases whose GPUs work for them for longer than their ranges are open: launches run ahead of the GPU.
-- Not of what repeats and has no name: a loop that never waits is healthy, and it has no MFU that could mislead.
-- Grain: phase.
-- severity: warning
-- message: the GPU is busy with {phase} for longer than its {spans}: launches run ahead of the GPU
-- hint: its wall time says nothing about the GPU: MFU and MBU are given for busy time only
-- concerns: estimate.occurrence_costs
-- requires: views.phase_summary
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time, warm-up left out. Unit: ns.
--   spans       VARCHAR Its ranges, or what was inferred, in words.
SELECT
    phase, gpu_busy_ns - warmup_busy_ns - cold_busy_ns AS at_stake_ns,
    CASE WHEN source = 'inferred' THEN 'occurrences last' ELSE 'ranges are open' END AS spans
FROM views.phase_summary
WHERE wall_ns > warmup_wall_ns + cold_wall_ns AND busy_ratio IS NULL AND NOT (source = 'inferred' AND starts_with(phase, 'repeat '))
