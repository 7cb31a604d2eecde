-- Disjoint segments of each lane with the span on top of the stack, from the events of macros.sweep.
-- Algorithm: where spans nest, the top of the stack after an event is the latest start that reached its depth.
-- Grain: lane, start_ns.
-- params: events
-- requires:
-- columns:
--   lane     BIGINT  Copied from `events`.
--   start_ns BIGINT  First instant of the segment; it ends where the next one of its lane starts. Unit: ns.
--   span_id  BIGINT  Span on top, NULL for none.
WITH topped AS (
    SELECT
        lane, is_start, at_ns, next_ns, next_is_start, next_start_ns,
        CASE
            WHEN is_start THEN span_id
            WHEN depth > 0 THEN last_value(CASE WHEN is_start THEN span_id END IGNORE NULLS) OVER (
                PARTITION BY lane, depth ORDER BY step ROWS UNBOUNDED PRECEDING
            )
        END AS span_id
    FROM query_table(events)
)
SELECT lane, CASE WHEN is_start THEN at_ns ELSE at_ns + 1 END AS start_ns, span_id
FROM topped
-- Of the starts at one instant the last is on top. An end takes effect one instant late, because the end belongs to the
-- span, and not at all where a span starts at that instant.
WHERE CASE
    WHEN is_start THEN next_ns IS NULL OR next_ns > at_ns OR NOT next_is_start
    ELSE (next_ns IS NULL OR next_ns > at_ns) AND (next_start_ns IS NULL OR next_start_ns > at_ns + 1)
END
