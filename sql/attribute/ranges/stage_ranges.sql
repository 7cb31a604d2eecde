-- Ranges that mark one part of a model's vision side: `vision.<part>`.
-- Grain: range_id.
-- materialize: table
-- empty without: load.range_names WHERE starts_with(name, 'vision.')
-- requires: load.nvtx_ranges, attribute._range_places
-- columns:
--   range_id      BIGINT   Joins load.nvtx_ranges.
--   stage         VARCHAR  The part: 'tower', 'projector', 'sam', 'encoder', 'merger', or what else the range names.
--   parent_id     BIGINT   Stage directly around it, NULL for an outermost one.
--   occurrence_id BIGINT   Phase that it starts in, NULL outside. Joins attribute.phase_ranges.
--   global_tid    BIGINT   Joins load.threads.
--   domain_id     BIGINT   Domain of the range.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
WITH stage AS (
    SELECT r.range_id, substr(r.name, 8) AS stage, p.parent_id, p.occurrence_id, r.global_tid, r.domain_id, r.start_ns, r.end_ns
    FROM load.nvtx_ranges AS r JOIN attribute._range_places AS p USING (range_id)
    WHERE r.kind = 'push_pop' AND r.domain IN ('llmperf', '') AND regexp_matches(r.name, '^vision\.\w+$')
)
SELECT
    s.range_id, s.stage, around.range_id AS parent_id, s.occurrence_id, s.global_tid, s.domain_id, s.start_ns, s.end_ns
FROM stage AS s LEFT JOIN stage AS around ON around.range_id = s.parent_id
