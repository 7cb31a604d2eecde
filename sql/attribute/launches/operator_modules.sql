-- Calls of operators that start inside a marked module, with the innermost one.
-- Grain: range_id.
-- materialize: table
-- empty without: attribute.operator_ranges
-- requires: attribute.operator_ranges, attribute.layer_ranges, attribute.stage_ranges, macros.innermost_segments
-- columns:
--   range_id BIGINT   Joins attribute.operator_ranges.
--   module   VARCHAR  'layer.attn', 'layer.mlp': a block of any layer; 'vision.tower', …: a part of the vision side.
WITH open_module AS (
    SELECT global_tid AS lane, domain_id AS sublane, range_id AS span_id, start_ns, end_ns FROM attribute.layer_ranges
    UNION ALL
    SELECT global_tid AS lane, domain_id AS sublane, range_id AS span_id, start_ns, end_ns FROM attribute.stage_ranges
),
named AS (
    SELECT range_id AS span_id, 'layer.' || part AS module FROM attribute.layer_ranges
    UNION ALL
    SELECT range_id AS span_id, 'vision.' || stage AS module FROM attribute.stage_ranges
)
SELECT o.range_id, n.module
FROM attribute.operator_ranges AS o
ASOF JOIN macros.innermost_segments('open_module') AS s ON s.lane = o.global_tid AND s.start_ns <= o.start_ns
JOIN named AS n USING (span_id)
