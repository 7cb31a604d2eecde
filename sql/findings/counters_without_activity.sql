-- Samples by which no SM was active while kernels ran: nsys rounds up, so that a single active SM is one per cent. The counter was not
-- counted, or that of another GPU. Ten samples, in phases whose GPU time is kernels by half or more.
-- Grain: phase, device_id.
-- severity: warning
-- message: in {phase} {samples:,} samples of GPU {gpu} say that no SM was active, while kernels ran: its counters are not those of this work
-- hint: `SM active` and what stands beside it are wrong: sample all counters of the set (`llmperf capture --gpu-metrics`), with nobody else
--   profiling the GPU
-- concerns: attribute.phase_counters
-- empty without: attribute.phase_counters
-- requires: attribute.phase_counters, attribute.phase_ranges, attribute.work_by_occurrence
-- columns:
--   phase       VARCHAR Name of the phase.
--   at_stake_ns BIGINT  Busy time that the samples cover. Unit: ns.
--   gpu         BIGINT  Its number.
--   samples     BIGINT  Samples whose stamp lies in the phase's busy time.
WITH work AS (
    SELECT p.phase, coalesce(w.device_id, 0) AS device_id, sum(w.kernel_time_ns) AS kernel_ns,
        sum(w.memcpy_time_ns + w.memset_time_ns) AS memop_ns
    FROM attribute.work_by_occurrence AS w JOIN attribute.phase_ranges AS p USING (occurrence_id)
    GROUP BY ALL
)
SELECT c.phase, c.sampled_busy_ns AS at_stake_ns, c.device_id AS gpu, c.samples
FROM attribute.phase_counters AS c JOIN work AS w ON w.phase = c.phase AND w.device_id = c.device_id
WHERE c.samples >= 10 AND c.sm_active_ratio = 0 AND w.kernel_ns > 0 AND w.kernel_ns >= w.memop_ns
