-- Ranks of the job, one process with GPU work or a run mark each: what it did, and who waits for whom in collectives.
-- Warm-up is in the sums. A rank that others wait for has a large lateness_ns; those that wait have a large wait_ns.
-- Grain: process_id, host_id.
-- requires: load.ranks, load.device_map, attribute.phase_devices, attribute.collectives
-- columns:
--   rank           BIGINT    Rank, NULL where neither a run mark nor the file's name says.
--   world          BIGINT    Ranks of the job as the run mark says, else NULL.
--   process_id     BIGINT    Operating-system pid. Joins processes.
--   host_id        BIGINT    Host: 0 is the first one.
--   device_ids     BIGINT[]  GPUs that it works on. Join devices.
--   cuda_devices   BIGINT[]  The numbers by which the process calls them, in the same order: others under CUDA_VISIBLE_DEVICES.
--   path           VARCHAR   File that it is read from.
--   clock_error_ns BIGINT    How far its times may be off those of the first file: 0 on the same host, NULL where nothing
--                            says. Unit: ns.
--   kernel_count   BIGINT    Kernels in phases.
--   kernel_time_ns BIGINT    Sum of their durations. Unit: ns.
--   gpu_busy_ns    BIGINT    GPU busy time in phases, added up over phases and GPUs. Unit: ns.
--   collectives    BIGINT    Collectives that were matched with other ranks.
--   wait_ns        BIGINT    Time in them until the last rank had come. Unit: ns.
--   transfer_ns    BIGINT    The rest of their time. Unit: ns.
--   lateness_ns    BIGINT    How much later than the first rank it came to them, added up. Unit: ns.
--   blamed_ns      BIGINT    Time that other ranks waited in collectives to which this one came last. Unit: ns.
WITH work AS (
    SELECT
        process_key, sum(kernel_count)::BIGINT AS kernel_count, sum(kernel_time_ns)::BIGINT AS kernel_time_ns,
        sum(gpu_busy_ns)::BIGINT AS gpu_busy_ns
    FROM attribute.phase_devices
    GROUP BY process_key
),
known AS (
    SELECT process_id, map(list(device_id), list(cuda_device)) AS numbers
    FROM (SELECT process_id, device_id, min(cuda_device) AS cuda_device FROM load.device_map GROUP BY process_id, device_id)
    GROUP BY process_id
),
timed AS (
    SELECT
        process_key, wait_ns, transfer_ns, lateness_ns,
        -- GPUs of one process are one rank.
        CASE
            WHEN lateness_ns = skew_ns
                THEN sum(wait_ns) OVER (PARTITION BY group_id, number) - sum(wait_ns) OVER (PARTITION BY group_id, number, process_key)
        END AS blamed_ns
    FROM attribute.collectives
    WHERE wait_ns IS NOT NULL
),
communication AS (
    SELECT
        process_key, count(*) AS collectives, sum(wait_ns)::BIGINT AS wait_ns, sum(transfer_ns)::BIGINT AS transfer_ns,
        sum(lateness_ns)::BIGINT AS lateness_ns, coalesce(sum(blamed_ns), 0)::BIGINT AS blamed_ns
    FROM timed
    GROUP BY process_key
)
SELECT
    r.rank, r.world, r.process_key & 16777215 AS process_id, r.host_id, r.device_ids,
    list_transform(r.device_ids, lambda device: coalesce(k.numbers[device], device)) AS cuda_devices, r.path, r.clock_error_ns,
    coalesce(w.kernel_count, 0) AS kernel_count, coalesce(w.kernel_time_ns, 0) AS kernel_time_ns,
    coalesce(w.gpu_busy_ns, 0) AS gpu_busy_ns, coalesce(c.collectives, 0) AS collectives, c.wait_ns, c.transfer_ns,
    c.lateness_ns, c.blamed_ns
FROM load.ranks AS r
LEFT JOIN work AS w USING (process_key)
LEFT JOIN communication AS c USING (process_key)
LEFT JOIN known AS k ON k.process_id = r.process_key & 16777215
