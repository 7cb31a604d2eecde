-- Calls of the framework's operators: ranges that torch's `emit_nvtx` writes (`capture --ops`), or operators of torch.profiler.
-- Grain: range_id; empty without such ranges.
-- materialize: table
-- empty without: load.nvtx_ranges WHERE contains(name, '::')
-- requires: load.nvtx_ranges, attribute._range_places
-- columns:
--   range_id      BIGINT   Joins load.nvtx_ranges.
--   global_tid    BIGINT   Calling thread. Joins load.threads.
--   operator      VARCHAR  'aten::mm', ….
--   shapes        VARCHAR  Shapes of its inputs: '[[4, 8], [8, 2]]'; NULL where they were not recorded.
--   arguments     VARCHAR  What else its cost depends on, where torch.profiler recorded it: 'is_causal = True', 'stride = …'.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
--   outer_id      BIGINT   The operator that called it, NULL for an outermost one.
--   occurrence_id BIGINT   Innermost phase of its thread that is open when it starts.
WITH RECURSIVE placed AS MATERIALIZED (
    SELECT
        r.range_id, r.global_tid, r.start_ns, r.end_ns, p.parent_id, p.occurrence_id, r.name,
        r.domain_id = 0 AND regexp_matches(r.name, '^\w[\w.]*::[^\s,:]+(?:, |$)')
            -- Ranges of CUDA's own libraries.
            AND NOT starts_with(r.name, 'cub::') AND NOT starts_with(r.name, 'thrust::') AS is_operator
    FROM load.nvtx_ranges AS r JOIN attribute._range_places AS p USING (range_id)
    WHERE r.kind = 'push_pop' AND r.domain_id = 0
),
operator AS MATERIALIZED (
    SELECT * FROM placed WHERE is_operator
),
other AS MATERIALIZED (
    SELECT range_id, parent_id FROM placed WHERE NOT is_operator AND (SELECT count(*) FROM operator) > 0
),
-- Ranges between operators, such as annotations and nodes of autograd, with what is around them.
climbed AS (
    SELECT range_id, parent_id FROM other
    UNION ALL
    SELECT c.range_id, o.parent_id FROM climbed AS c JOIN other AS o ON o.range_id = c.parent_id
),
around AS (
    SELECT c.range_id, c.parent_id FROM climbed AS c SEMI JOIN operator AS o ON o.range_id = c.parent_id
)
SELECT
    o.range_id, o.global_tid,
    regexp_extract(o.name, '^[^\s,]+') AS operator,
    nullif(regexp_extract(o.name, ', sizes = (\[[\d, \[\]]*\])', 1), '') AS shapes,
    nullif(regexp_extract(o.name, ', ((?:is_causal|stride) = .*)$', 1), '') AS arguments,
    o.start_ns, o.end_ns, CASE WHEN p.range_id IS NOT NULL THEN o.parent_id ELSE a.parent_id END AS outer_id, o.occurrence_id
FROM operator AS o
LEFT JOIN operator AS p ON p.range_id = o.parent_id
LEFT JOIN around AS a ON a.range_id = o.parent_id
