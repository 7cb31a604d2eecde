-- The innermost warm-up range that each thread is in from an instant on: what starts from then on is inside it.
-- Grain: lane, start_ns.
-- materialize: table
-- empty without: attribute._warmup_spans
-- requires: macros.insides, macros.innermost_segments, attribute._warmup_spans
-- columns:
--   lane     BIGINT  Thread.
--   start_ns BIGINT  Unit: ns.
--   span_id  BIGINT  The range, NULL from the end of the last one on.
WITH span AS (
    SELECT * FROM macros.insides('attribute._warmup_spans')
)
SELECT lane, start_ns, span_id FROM macros.innermost_segments('span')
