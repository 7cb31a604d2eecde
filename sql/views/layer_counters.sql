-- Hardware counters of each block of marked layers, warm-up left out, joined to its GPU work by GPU and time.
-- A sample covers a stretch of time. What a counter summed up in it is shared among all that was busy on the GPU in it
-- (other blocks, work outside layers, warm-up, what a window leaves out) by busy time; low_ratio and high_ratio are what each other share would make
-- of it. Work counts for the block whose range launched it, so backward work that autograd's thread launches has none.
-- Grain: phase, layer, part, device_id, counter. Empty without marked layers or `--gpu-metrics`.
-- materialize: table
-- empty without: load.counter_samples
-- requires: load.counter_samples, macros.islands, macros.innermost_segments, macros.counter_means, attribute.gpu_work, attribute.occurrences, input.cut_work, attribute.layer_ranges, attribute._layer_spans
-- columns:
--   phase           VARCHAR  Name of the phase; NULL for layers outside every phase.
--   layer           BIGINT   Number of the layer.
--   part            VARCHAR  'attn' or 'mlp'.
--   device_id       BIGINT   Joins devices.
--   counter         VARCHAR  'tensor_active', 'sm_active', 'sm_issue', 'dram_read', 'dram_write', 'pcie_rx', 'pcie_tx',
--                            'nvlink_rx' or 'nvlink_tx'.
--   sample_count    BIGINT   Samples whose stretch holds work of the block.
--   sampled_busy_ns BIGINT   Busy time of the block in them. Unit: ns.
--   alone_ratio     DOUBLE   Share of it in stretches in which nothing else was busy.
--   sm_clock_hz     DOUBLE   Clock of the SMs, mean over the busy time. Unit: Hz.
--   busy_ratio      DOUBLE   The counter per busy time; NULL if it was not sampled.
--   low_ratio       DOUBLE   It cannot be less, whatever ran beside it.
--   high_ratio      DOUBLE   It cannot be more.
WITH placed AS (
    SELECT w.device_id, w.occurrence_id, w.start_ns, w.end_ns, s.span_id
    FROM attribute.gpu_work AS w
    ASOF LEFT JOIN macros.innermost_segments('attribute._layer_spans') AS s
        ON s.lane = w.global_tid AND s.start_ns <= w.launch_start_ns
    WHERE (SELECT count(*) FROM attribute.layer_ranges) > 0
),
work AS (
    SELECT
        CASE
            WHEN b.range_id IS NOT NULL AND coalesce(p.is_measured, true)
                THEN {'lane': w.device_id, 'phase': p.phase, 'layer': b.layer, 'part': b.part}
            ELSE {'lane': w.device_id, 'phase': NULL, 'layer': NULL, 'part': NULL}
        END AS group_id,
        w.start_ns, w.end_ns
    FROM placed AS w
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    LEFT JOIN attribute.layer_ranges AS b ON b.range_id = w.span_id
    SEMI JOIN (SELECT DISTINCT lane FROM load.counter_samples) AS sampled ON sampled.lane = w.device_id
    UNION ALL
    SELECT {'lane': group_id, 'phase': NULL, 'layer': NULL, 'part': NULL}, start_ns, end_ns FROM input.cut_work
),
island AS (
    SELECT group_id.lane AS lane, group_id, start_ns, end_ns FROM macros.islands('work')
)
SELECT
    group_id.phase AS phase, group_id.layer AS layer, group_id.part AS part, lane AS device_id, counter,
    window_count AS sample_count, sampled_busy_ns, alone_ratio, sm_clock_hz, busy_ratio, low_ratio, high_ratio
FROM macros.counter_means('island', 'load.counter_samples')
WHERE group_id.layer IS NOT NULL
