-- GPUs that worked and have no samples of hardware counters, beside GPUs that have: the counters of a phase are without them.
-- Grain: one row if there are such GPUs, else none.
-- severity: info
-- message: hardware counters were sampled on other GPUs alone: those of each phase are without GPU {gpus}
-- hint: `llmperf capture --gpu-metrics` samples every GPU of the machine
-- empty without: load.counter_samples
-- requires: load.counter_samples, attribute.work_by_occurrence
-- columns:
--   phase       VARCHAR NULL: the whole trace.
--   at_stake_ns BIGINT  Sum of the durations of their kernels in phases. Unit: ns.
--   gpus        VARCHAR Their numbers.
WITH unsampled AS (
    SELECT w.device_id, sum(w.kernel_time_ns) AS kernel_time_ns
    FROM attribute.work_by_occurrence AS w
    WHERE w.occurrence_id IS NOT NULL AND w.kernel_count > 0
        AND coalesce(w.device_id, 0) NOT IN (SELECT lane FROM load.counter_samples)
    GROUP BY w.device_id
)
SELECT
    NULL::VARCHAR AS phase, sum(kernel_time_ns)::BIGINT AS at_stake_ns,
    string_agg(coalesce(device_id, 0)::VARCHAR, ', ' ORDER BY device_id) AS gpus
FROM unsampled
HAVING count(*) > 0 AND EXISTS (FROM load.counter_samples)
