-- Which ranges of each phase are the slowest?
-- Cold ranges count, warm-up does not.
-- params:
--   top=5  Ranges of each phase.
-- columns:
--   phase             VARCHAR  Name of the phase.
--   occurrence        BIGINT   Number within the phase.
--   occurrence_id     BIGINT   The range.
--   shape             VARCHAR  Its shape, where it is known.
--   wall_ns           BIGINT   Host time. Unit: ns.
--   gpu_busy_ns       BIGINT   GPU busy time. Unit: ns.
--   kernel_count      BIGINT   Kernels.
--   launch_latency_ns DOUBLE   Mean time from a launch to its kernel. Unit: ns.
SELECT phase, occurrence, occurrence_id, shape, wall_ns, gpu_busy_ns, kernel_count, launch_latency_ns
FROM phases
WHERE NOT is_warmup
QUALIFY row_number() OVER (PARTITION BY phase ORDER BY wall_ns DESC, occurrence_id) <= $top
ORDER BY phase, wall_ns DESC, occurrence_id
