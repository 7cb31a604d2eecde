-- For how long something else runs on the same GPU beside sets of operations: what a cure of them cannot save.
-- Algorithm: the union of all operations of a GPU is longer than the union of those outside the set by the time that is only the set's.
-- Grain: group_id; sets without such an operation are absent.
-- params: members, operations
-- requires: macros.busy_ns
-- columns:
--   group_id  ANY    Copied from `members`, which has group_id and op_id: the operations of each set.
--   hidden_ns BIGINT Sum of the durations of those that are in `operations`, without the time in which nothing outside the set runs.
--                    `operations` has op_id, device_id, start_ns and end_ns of all that overlap. Unit: ns.
WITH own AS MATERIALIZED (
    SELECT m.group_id AS set_id, o.op_id, o.device_id, o.start_ns, o.end_ns
    FROM query_table(members) AS m JOIN query_table(operations) AS o USING (op_id)
),
part AS MATERIALIZED (
    SELECT set_id, device_id, row_number() OVER (ORDER BY set_id, device_id) AS group_id, sum(end_ns - start_ns) AS time_ns
    FROM own
    GROUP BY set_id, device_id
),
every AS (
    SELECT p.group_id, o.op_id, o.start_ns, o.end_ns FROM query_table(operations) AS o JOIN part AS p USING (device_id)
),
other AS (
    SELECT e.group_id, e.start_ns, e.end_ns
    FROM every AS e
    ANTI JOIN (
        SELECT p.group_id, o.op_id FROM own AS o JOIN part AS p ON p.set_id IS NOT DISTINCT FROM o.set_id AND p.device_id = o.device_id
    ) AS m ON m.group_id = e.group_id AND m.op_id = e.op_id
)
SELECT p.set_id AS group_id, sum(p.time_ns - (e.busy_ns - coalesce(o.busy_ns, 0)))::BIGINT AS hidden_ns
FROM part AS p
JOIN macros.busy_ns('every') AS e USING (group_id)
LEFT JOIN macros.busy_ns('other') AS o USING (group_id)
GROUP BY p.set_id
