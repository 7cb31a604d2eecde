-- How long each stage took, with and without the stages inside it.
-- Grain: range_id.
-- materialize: table
-- empty without: attribute.stage_ranges
-- requires: attribute.stage_ranges, attribute._stage_spans, attribute.gpu_work, macros.innermost_segments, macros.busy_ns
-- columns:
--   range_id     BIGINT   Joins attribute.stage_ranges.
--   wall_ns      BIGINT   Host time in it. Unit: ns.
--   own_wall_ns  BIGINT   The same without the stages inside it. Unit: ns.
--   kernel_count BIGINT   Kernels that it launched.
--   gpu_busy_ns  BIGINT   GPU busy time of what it launched, added up over GPUs. Unit: ns.
--   own_busy_ns  BIGINT   The same without the stages inside it. Unit: ns.
WITH RECURSIVE placed AS (
    SELECT s.span_id AS range_id, w.device_id, w.kind, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    ASOF JOIN macros.innermost_segments('attribute._stage_spans') AS s
        ON s.lane = w.global_tid AND s.start_ns <= w.launch_start_ns
    WHERE s.span_id IS NOT NULL
),
around AS (
    SELECT range_id, range_id AS outer_id FROM attribute.stage_ranges
    UNION ALL
    SELECT a.range_id, r.parent_id
    FROM around AS a JOIN attribute.stage_ranges AS r ON r.range_id = a.outer_id
    WHERE r.parent_id IS NOT NULL
),
own_interval AS (
    SELECT {'range_id': range_id, 'device_id': device_id} AS group_id, start_ns, end_ns FROM placed
),
whole_interval AS (
    SELECT {'range_id': a.outer_id, 'device_id': p.device_id} AS group_id, p.start_ns, p.end_ns
    FROM placed AS p JOIN around AS a USING (range_id)
),
own AS (
    SELECT group_id.range_id AS range_id, sum(busy_ns)::BIGINT AS busy_ns
    FROM macros.busy_ns('own_interval')
    GROUP BY ALL
),
whole AS (
    SELECT group_id.range_id AS range_id, sum(busy_ns)::BIGINT AS busy_ns
    FROM macros.busy_ns('whole_interval')
    GROUP BY ALL
),
kernel AS (
    SELECT a.outer_id AS range_id, count(*) AS kernel_count
    FROM placed AS p JOIN around AS a USING (range_id)
    WHERE p.kind = 'kernel'
    GROUP BY a.outer_id
),
inner_wall AS (
    SELECT parent_id AS range_id, sum(end_ns - start_ns)::BIGINT AS wall_ns
    FROM attribute.stage_ranges
    WHERE parent_id IS NOT NULL
    GROUP BY parent_id
)
SELECT
    r.range_id, r.end_ns - r.start_ns AS wall_ns, r.end_ns - r.start_ns - coalesce(i.wall_ns, 0) AS own_wall_ns,
    coalesce(k.kernel_count, 0) AS kernel_count, coalesce(whole.busy_ns, 0) AS gpu_busy_ns,
    coalesce(own.busy_ns, 0) AS own_busy_ns
FROM attribute.stage_ranges AS r
LEFT JOIN inner_wall AS i USING (range_id)
LEFT JOIN kernel AS k USING (range_id)
LEFT JOIN whole USING (range_id)
LEFT JOIN own USING (range_id)
