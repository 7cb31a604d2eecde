-- Disjoint segments of each lane, each with the innermost of the spans that are open in it.
-- A span holds the instants start_ns <= t <= end_ns. Of two that start together the one that ends first is the inner.
-- Algorithm: a stack sweep without a stack (macros.sweep, macros.top_segments), O(n log n). The spans of a lane (thread)
-- nest, or at least those of each sublane (NVTX domain) do: then each sublane is swept alone, and at every boundary the
-- latest start among them wins.
-- Grain: lane, start_ns; a segment ends where the next one of its lane starts. No span open: span_id is NULL.
-- params: spans
-- requires: macros.sweep, macros.top_segments
-- columns:
--   lane     BIGINT  Copied from `spans`, which has lane, sublane, span_id, start_ns and end_ns.
--   start_ns BIGINT  First instant of the segment. Unit: ns.
--   span_id  BIGINT  Innermost open span.
WITH span AS MATERIALIZED (
    SELECT lane, sublane, span_id, start_ns, end_ns FROM query_table(spans)
),
event AS MATERIALIZED (
    SELECT * FROM macros.sweep('span')
),
-- The first span that ends while another one is on top of it ends at another depth than it started at. Where
-- spans and depths pair up their hashes cancel out: comparing span by span would take a group for each. (One number is
-- hashed: of two, DuckDB's hash is itself an exclusive or, and would cancel out for any pairing.)
crossed_lane AS MATERIALIZED (
    SELECT lane
    FROM event
    GROUP BY lane
    HAVING bit_xor(hash(span_id::HUGEINT * 4294967296 + depth + CASE WHEN is_start THEN 0 ELSE 1 END)) <> 0
),
nested_event AS (
    SELECT * FROM event ANTI JOIN crossed_lane USING (lane)
),
track AS MATERIALIZED (
    SELECT lane, sublane, row_number() OVER () AS track_id
    FROM (SELECT DISTINCT lane, sublane FROM span SEMI JOIN crossed_lane USING (lane))
),
track_span AS (
    SELECT track_id AS lane, span_id, start_ns, end_ns FROM span JOIN track USING (lane, sublane)
),
track_event AS MATERIALIZED (
    SELECT * FROM macros.sweep('track_span')
),
track_segment AS MATERIALIZED (
    SELECT s.lane AS track_id, t.lane, s.start_ns, s.span_id
    FROM macros.top_segments('track_event') AS s JOIN track AS t ON t.track_id = s.lane
),
candidate AS (
    SELECT b.lane, b.start_ns, s.span_id
    FROM (
        SELECT track.lane, track.track_id, b.start_ns
        FROM (SELECT DISTINCT lane, start_ns FROM track_segment) AS b JOIN track USING (lane)
    ) AS b
    ASOF LEFT JOIN track_segment AS s ON s.track_id = b.track_id AND s.start_ns <= b.start_ns
)
SELECT lane, start_ns, span_id FROM macros.top_segments('nested_event')
UNION ALL
SELECT c.lane, c.start_ns, arg_max(c.span_id, (span.start_ns, -span.end_ns, c.span_id)) AS span_id
FROM candidate AS c LEFT JOIN span USING (span_id)
GROUP BY c.lane, c.start_ns
