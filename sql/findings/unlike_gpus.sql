-- Passes that GPUs of different peaks compute together, as where layers or rows of a model are spread over what a machine has.
-- Grain: phase.
-- severity: warning
-- message: in {phase} {step_count:,} steps run on several GPUs that are not alike ({names}); of wall time, MFU and MBU are of the sum of
--   their peaks, of busy time of the mean
-- hint: `gpu_work` says by `device_id` what each of them ran
-- concerns: estimate.occurrence_costs
-- empty without: estimate.occurrence_costs WHERE device_count > 1
-- requires: estimate.occurrence_costs, attribute.occurrences, attribute.work_by_occurrence, input.peaks, load.devices
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Busy time of these steps, added up over GPUs. Unit: ns.
--   step_count  BIGINT  Measured steps of known shape that they share.
--   names       VARCHAR Names of the GPUs.
WITH peak AS (
    SELECT device_id, list(dtype || ' ' || flops_per_s ORDER BY dtype) AS peaks, any_value(bandwidth_bytes_per_s) AS bandwidth
    FROM input.peaks
    GROUP BY device_id
),
step AS (
    SELECT
        o.phase, w.occurrence_id, any_value(c.device_busy_ns) AS busy_ns,
        count(DISTINCT (p.peaks, p.bandwidth)) AS kinds, list(DISTINCT d.name) AS names
    FROM estimate.occurrence_costs AS c
    JOIN attribute.occurrences AS o USING (occurrence_id)
    JOIN attribute.work_by_occurrence AS w USING (occurrence_id)
    JOIN load.devices AS d ON d.device_id = coalesce(w.device_id, 0)
    JOIN peak AS p ON p.device_id = d.device_id
    WHERE o.is_measured AND c.device_count > 1 AND c.compute_ns IS NOT NULL
    GROUP BY o.phase, w.occurrence_id
)
SELECT
    phase, sum(busy_ns)::BIGINT AS at_stake_ns, count(*) AS step_count,
    array_to_string(list_sort(list_distinct(flatten(list(names)))), ', ') AS names
FROM step
WHERE kinds > 1
GROUP BY phase
