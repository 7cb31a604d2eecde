-- Ranges that threads have of their own, not from a library: of threads that launch while another one has a phase open.
-- Algorithm: a call lies in such a range if the latest end of those that started before it is not before the call.
-- Grain: global_tid, start_ns.
-- materialize: temporary
-- empty without: attribute._linked_work WHERE occurrence_id IS NULL
-- requires: attribute._outside_launches, load.nvtx_ranges, load.range_names, input.library_ranges
-- columns:
--   global_tid BIGINT   Joins load.threads.
--   start_ns   BIGINT   When one of them was opened. Unit: ns.
--   until_ns   BIGINT   Latest end of those that were opened until then. Unit: ns.
WITH thread AS (
    SELECT DISTINCT global_tid FROM attribute._outside_launches WHERE other_id IS NOT NULL AND overlay_id IS NULL
),
own AS (
    SELECT r.global_tid, r.start_ns, max(r.end_ns) AS end_ns
    FROM load.nvtx_ranges AS r
    SEMI JOIN thread USING (global_tid)
    JOIN load.range_names AS n ON n.domain = r.domain AND n.name = r.name
    ANTI JOIN input.library_ranges AS l ON l.domain = n.domain AND l.pattern = n.pattern
    GROUP BY r.global_tid, r.start_ns
)
SELECT
    global_tid, start_ns,
    max(end_ns) OVER (PARTITION BY global_tid ORDER BY start_ns ROWS UNBOUNDED PRECEDING) AS until_ns
FROM own
