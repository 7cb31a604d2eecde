-- Ranges that mark one block of one layer: `layer.<i>.<part>`, `layer<i>.<part>` of other people's, or the dictionary that
-- vLLM and SGLang write with layer-wise NVTX: {'Module': 'model.layers.<i>.self_attn', …}.
-- Grain: range_id.
-- materialize: table
-- requires: load.nvtx_ranges
-- columns:
--   range_id   BIGINT   Joins load.nvtx_ranges.
--   layer      BIGINT   Number of the layer.
--   part       VARCHAR  'attn' or 'mlp'.
--   global_tid BIGINT   Joins load.threads.
--   domain_id  BIGINT   Domain of the range.
--   start_ns   BIGINT   Unit: ns.
--   end_ns     BIGINT   Unit: ns.
WITH named AS (
    SELECT
        range_id, global_tid, domain_id, start_ns, end_ns,
        regexp_extract(
            name,
            '^(?:\{''Module'': ''(?:[\w.]*\.)?)?layers?[._]?(\d{1,9})[._]((?:self_|linear_)?attn|attention|mlp|ffn|moe|block_sparse_moe|feed_forward)(?:''[,}].*)?$',
            ['layer', 'part'], 's'
        ) AS found
    FROM load.nvtx_ranges
    WHERE kind = 'push_pop' AND (starts_with(name, 'layer') OR starts_with(name, '{''Module'': '))
)
SELECT
    range_id, found.layer::BIGINT AS layer,
    CASE WHEN found.part IN ('attn', 'self_attn', 'linear_attn', 'attention') THEN 'attn' ELSE 'mlp' END AS part,
    global_tid, domain_id, start_ns, end_ns
FROM named
WHERE found.layer <> ''
