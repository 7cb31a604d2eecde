-- When none of the intervals of a group is open, between its first and its last: idle time.
-- Grain: group_id, start_ns.
-- params: intervals
-- requires: macros.islands
-- columns:
--   group_id ANY     Copied from `intervals`, which has group_id, start_ns and end_ns.
--   start_ns BIGINT  End of the work before. Unit: ns.
--   end_ns   BIGINT  Start of the work after. Unit: ns.
--   dur_ns   BIGINT  end_ns - start_ns. Unit: ns.
WITH bounded AS (
    SELECT group_id, lag(end_ns) OVER (PARTITION BY group_id ORDER BY start_ns) AS start_ns, start_ns AS end_ns
    FROM macros.islands(intervals)
)
SELECT group_id, start_ns, end_ns, end_ns - start_ns AS dur_ns
FROM bounded
WHERE start_ns IS NOT NULL
