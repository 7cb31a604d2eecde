-- How much of each window the intervals of each group fill: a sample that a counter takes over a window, given to what
-- ran in it.
-- Algorithm: the windows of a lane do not overlap and are numbered in order. ASOF joins find the windows in which an
-- interval starts and ends; the interval is cut at the bounds of those between. Linear in intervals plus cuts.
-- Grain: one row per group and window in which the group has something open. Intervals of a group that overlap count twice.
-- params: intervals, windows
-- requires:
-- columns:
--   group_id   ANY     Copied from `intervals`, which has lane, group_id, start_ns and end_ns.
--   lane       ANY     Copied from both. `windows` has lane, window_id (1, 2, 3, … in a lane), start_ns and end_ns.
--   window_id  BIGINT  The window.
--   overlap_ns BIGINT  Time of the group inside it. Unit: ns.
--   is_at_start BOOLEAN Whether the group is open at the start of the window.
WITH started AS (
    SELECT i.lane, i.group_id, i.start_ns, i.end_ns, coalesce(w.window_id, 1) AS first_id
    FROM query_table(intervals) AS i
    ASOF LEFT JOIN query_table(windows) AS w ON w.lane = i.lane AND w.start_ns <= i.start_ns
),
placed AS (
    SELECT s.lane, s.group_id, s.start_ns, s.end_ns, s.first_id, w.window_id AS last_id
    FROM started AS s
    ASOF JOIN query_table(windows) AS w ON w.lane = s.lane AND w.start_ns <= s.end_ns
),
cut AS (
    SELECT lane, group_id, start_ns, end_ns, unnest(range(first_id, last_id + 1)) AS window_id
    FROM placed
)
SELECT
    c.group_id, c.lane, c.window_id,
    sum(least(c.end_ns, w.end_ns) - greatest(c.start_ns, w.start_ns))::BIGINT AS overlap_ns,
    bool_or(c.start_ns <= w.start_ns) AS is_at_start
FROM cut AS c
JOIN query_table(windows) AS w ON w.lane = c.lane AND w.window_id = c.window_id
WHERE least(c.end_ns, w.end_ns) > greatest(c.start_ns, w.start_ns)
GROUP BY c.group_id, c.lane, c.window_id
