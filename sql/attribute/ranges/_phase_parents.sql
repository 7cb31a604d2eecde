-- The phase around each phase on its thread, by the time of the host.
-- Algorithm: where spans of a thread nest, the parent is the last one to have started one level higher. Those of two NVTX
-- domains may cross: what does not hold the whole phase is no parent.
-- Grain: occurrence_id.
-- materialize: table
-- requires: macros.sweep, attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT Joins attribute.phase_ranges.
--   parent_id     BIGINT The phase around it, NULL for none and for start/end ranges.
WITH span AS MATERIALIZED (
    SELECT global_tid AS lane, occurrence_id AS span_id, start_ns, end_ns
    FROM attribute.phase_ranges
    WHERE kind = 'push_pop'
),
opened AS MATERIALIZED (
    SELECT lane, span_id, step, depth FROM macros.sweep('span') WHERE is_start
)
SELECT p.occurrence_id, around.occurrence_id AS parent_id
FROM attribute.phase_ranges AS p
LEFT JOIN (
    SELECT c.span_id, o.span_id AS outer_id
    FROM opened AS c ASOF JOIN opened AS o ON o.lane = c.lane AND o.depth = c.depth - 1 AND o.step < c.step
) AS found ON found.span_id = p.occurrence_id
LEFT JOIN attribute.phase_ranges AS around
    ON around.occurrence_id = found.outer_id AND around.start_ns <= p.start_ns AND around.end_ns >= p.end_ns
