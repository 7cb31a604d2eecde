-- Launches among which is the next one after each of some points: to sort all of them for a few points takes longer than the rest.
-- Algorithm: the first launch of each 2^20 ns, and all of those with a point.
-- Grain: some of `launches`.
-- params: points, launches
-- columns:
--   global_tid    BIGINT Launching thread, of `points`, too.
--   at_ns         BIGINT When it is launched; of a point, where it is. Unit: ns.
--   device_id     BIGINT Of `launches`.
--   occurrence_id BIGINT Of `launches`.
WITH launch AS NOT MATERIALIZED (
    SELECT global_tid, at_ns, device_id, occurrence_id, at_ns >> 20 AS slot
    FROM query_table(launches)
),
first AS (
    SELECT global_tid, arg_min({'at_ns': at_ns, 'device_id': device_id, 'occurrence_id': occurrence_id}, at_ns) AS one
    FROM launch
    GROUP BY global_tid, slot
)
SELECT global_tid, one.at_ns AS at_ns, one.device_id AS device_id, one.occurrence_id AS occurrence_id FROM first
UNION ALL
SELECT global_tid, at_ns, device_id, occurrence_id
FROM launch SEMI JOIN (SELECT global_tid, at_ns >> 20 AS slot FROM query_table(points)) AS p USING (global_tid, slot)
