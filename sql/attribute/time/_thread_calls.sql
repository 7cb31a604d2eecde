-- CUDA calls as what their thread is in: calls of one thread do not overlap. Rows that `--cudabacktrace` records twice count
-- once.
-- Grain: global_tid, start_ns.
-- requires: load.api_calls, attribute._linked_work, attribute._repeated_links, attribute._call_kinds
-- columns:
--   global_tid BIGINT    Calling thread. Joins load.threads.
--   start_ns   BIGINT    Entry. Unit: ns.
--   end_ns     BIGINT    Return. Unit: ns.
--   kind       UTINYINT  0 launches, 1 synchronizes, 2 neither.
WITH launch AS (
    SELECT DISTINCT w.api_id
    FROM attribute._linked_work AS w SEMI JOIN (SELECT name_id FROM attribute._call_kinds WHERE may_launch) AS k
        ON k.name_id = w.call_name_id
),
-- Kept between its two readers, of which one gets nothing, it would take the memory of all calls.
call AS NOT MATERIALIZED (
    SELECT
        c.global_tid, c.start_ns, c.end_ns,
        CASE WHEN l.api_id IS NOT NULL THEN 0 ELSE coalesce(k.kind, 2) END::UTINYINT AS kind
    FROM load.api_calls AS c
    LEFT JOIN attribute._call_kinds AS k ON k.name_id = c.name_id
    LEFT JOIN launch AS l ON l.api_id = c.api_id
    WHERE c.end_ns > c.start_ns
),
doubled AS (
    SELECT count(*) > 0 AS is_doubled FROM attribute._repeated_links
)
SELECT global_tid, start_ns, end_ns, kind FROM call WHERE NOT (SELECT is_doubled FROM doubled)
UNION ALL
SELECT global_tid, start_ns, max(end_ns) AS end_ns, min(kind) AS kind
FROM call
WHERE (SELECT is_doubled FROM doubled)
GROUP BY global_tid, start_ns
