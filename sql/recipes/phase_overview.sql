-- Where does the time go, phase by phase?
-- Host wall time, GPU busy time and what is launched, per phase; warm-up included.
-- columns:
--   phase              VARCHAR  Name of the phase.
--   occurrences        BIGINT   Ranges.
--   wall_ns            BIGINT   Host time inside them. Unit: ns.
--   gpu_busy_ns        BIGINT   GPU busy time. Unit: ns.
--   busy_ratio         DOUBLE   Share of the time with an open range in which its GPUs work for it; NULL where
--                              they go on for longer. See phase_summary.
--   kernels_per_range  DOUBLE   Kernels of a range, on average.
--   mean_kernel_ns     DOUBLE   Mean duration of a kernel. Unit: ns.
SELECT
    phase, occurrences, wall_ns, gpu_busy_ns, busy_ratio, kernel_count / occurrences AS kernels_per_range,
    kernel_time_ns / nullif(kernel_count, 0) AS mean_kernel_ns
FROM phase_summary
ORDER BY wall_ns DESC, phase
