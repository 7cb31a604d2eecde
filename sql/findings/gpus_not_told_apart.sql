-- Processes that work at the same time on what each of them calls the same GPU, while other GPUs of the trace have nothing to do.
-- Under CUDA_VISIBLE_DEVICES each process counts its GPUs from 0. nsys before 2025.1 does not say which GPU of the machine that is.
-- Grain: phase, device_id.
-- severity: error
-- message: in {phase} {process_count:,} processes work at the same time on what each calls GPU {device_id}, and {idle_count:,} other
--   GPUs have nothing to do: with CUDA_VISIBLE_DEVICES each process counts from 0, and the export does not say which GPU is meant, so
--   that busy time, MFU of it and budgets may be of several GPUs as if they were one
-- hint: record with nsys 2025.1 or later, or number the GPUs alike in all processes
-- concerns: attribute.phase_busy
-- empty without: load.devices WHERE NOT has_work
-- requires: attribute.phase_devices, attribute.phase_busy, load.device_map, load.devices
-- columns:
--   phase         VARCHAR The phase.
--   at_stake_ns   BIGINT  Time in which several of them work. Unit: ns.
--   device_id     BIGINT  The number that they use.
--   process_count BIGINT  Processes.
--   idle_count    BIGINT  GPUs of the trace that did nothing.
WITH unmapped AS (
    SELECT d.phase, d.device_id, count(*) AS process_count, sum(d.gpu_busy_ns) AS busy_sum_ns
    FROM attribute.phase_devices AS d
    ANTI JOIN load.device_map AS m ON m.process_id = d.process_key & 16777215
    GROUP BY d.phase, d.device_id
    HAVING count(*) > 1
),
idle AS (
    SELECT count(*) AS idle_count FROM load.devices WHERE NOT has_work
)
SELECT
    u.phase, (u.busy_sum_ns - b.gpu_busy_ns)::BIGINT AS at_stake_ns, u.device_id, u.process_count, i.idle_count
FROM unmapped AS u
JOIN attribute.phase_busy AS b ON b.phase = u.phase AND b.device_id = u.device_id
CROSS JOIN idle AS i
WHERE i.idle_count >= u.process_count - 1 AND u.busy_sum_ns >= 1.1 * b.gpu_busy_ns
