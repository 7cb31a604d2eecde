-- Hardware counters of each kernel name, warm-up left out, joined to its kernels by GPU and time.
-- A sample covers a stretch of time that is longer than most kernels. What a counter summed up in it is shared among all
-- that was busy on the GPU in it (other kernels, copies, warm-up, what a window leaves out) by busy time; low_ratio and high_ratio are what each
-- other share would make of it. Names that always run beside the same others cannot be told apart: see alone_ratio.
-- Grain: phase, name, full_name, device_id, counter; phase is NULL outside every phase. Empty without `--gpu-metrics`.
-- materialize: table
-- empty without: load.counter_samples
-- requires: load.counter_samples, macros.islands, macros.counter_means, attribute.gpu_work, attribute.occurrences, input.cut_work, attribute.kernel_families, load.strings
-- columns:
--   phase           VARCHAR  Name of the phase, or NULL.
--   name            VARCHAR  Short kernel name.
--   full_name       VARCHAR  Demangled kernel name with its template arguments.
--   family          VARCHAR  What kind of work it is: 'gemm', 'attention', 'norm', …
--   device_id       BIGINT   Joins devices.
--   counter         VARCHAR  'tensor_active', 'sm_active', 'sm_issue', 'dram_read', 'dram_write', 'pcie_rx', 'pcie_tx',
--                            'nvlink_rx' or 'nvlink_tx'.
--   sample_count    BIGINT   Samples whose stretch holds such a kernel.
--   sampled_busy_ns BIGINT   Busy time of such kernels in them. Unit: ns.
--   alone_ratio     DOUBLE   Share of it in stretches in which nothing else was busy.
--   sm_clock_hz     DOUBLE   Clock of the SMs, mean over the busy time. Unit: Hz.
--   busy_ratio      DOUBLE   The counter per busy time; NULL if it was not sampled.
--   low_ratio       DOUBLE   It cannot be less, whatever ran beside it.
--   high_ratio      DOUBLE   It cannot be more.
WITH work AS (
    SELECT
        CASE
            WHEN w.kind = 'kernel' AND coalesce(p.is_measured, true)
                THEN {
                    'lane': w.device_id, 'is_told': true, 'phase': p.phase, 'name_id': w.name_id, 'full_name_id': w.full_name_id
                }
            ELSE {'lane': w.device_id, 'is_told': false, 'phase': NULL, 'name_id': NULL, 'full_name_id': NULL}
        END AS group_id,
        w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    SEMI JOIN (SELECT DISTINCT lane FROM load.counter_samples) AS sampled ON sampled.lane = w.device_id
    UNION ALL
    SELECT {'lane': group_id, 'is_told': false, 'phase': NULL, 'name_id': NULL, 'full_name_id': NULL}, start_ns, end_ns FROM input.cut_work
),
island AS (
    SELECT group_id.lane AS lane, group_id, start_ns, end_ns FROM macros.islands('work')
)
SELECT
    c.group_id.phase AS phase, short.value AS name, long.value AS full_name, f.family, c.lane AS device_id, c.counter,
    c.window_count AS sample_count, c.sampled_busy_ns, c.alone_ratio, c.sm_clock_hz, c.busy_ratio, c.low_ratio, c.high_ratio
FROM macros.counter_means('island', 'load.counter_samples') AS c
LEFT JOIN load.strings AS short ON short.string_id = c.group_id.name_id
LEFT JOIN load.strings AS long ON long.string_id = c.group_id.full_name_id
LEFT JOIN attribute.kernel_families AS f
    ON f.name_id = c.group_id.name_id AND f.full_name_id IS NOT DISTINCT FROM c.group_id.full_name_id
WHERE c.group_id.is_told
