-- Threads of which a launching call may lie in idle time that a later launch of theirs ends, so that all of their launching
-- calls must be looked at: they use several GPUs, or a GPU on which work does not start in the order of its launches, or
-- they are in a process whose launching calls are more or fewer than those that launched recorded work.
-- Everywhere else such a call is open after the GPU has become idle only if its own work has ended before it returned.
-- Grain: global_tid.
-- materialize: table
-- requires: load.api_calls, attribute._call_kinds, attribute._plain_sums, attribute._launch_lanes, attribute.work_by_occurrence
-- columns:
--   global_tid BIGINT  Joins load.threads.
WITH slot AS (
    SELECT
        device_id, slot, min(first_launch_ns) AS first_ns, max(last_launch_ns) AS last_ns, bool_and(is_in_order) AS is_in_order
    FROM attribute._plain_sums
    GROUP BY device_id, slot
),
unordered AS (
    SELECT device_id
    FROM (
        SELECT
            device_id, is_in_order,
            coalesce(first_ns >= max(last_ns) OVER (
                PARTITION BY device_id ORDER BY slot NULLS FIRST ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), true) AS follows
        FROM slot
    )
    GROUP BY device_id
    HAVING NOT bool_and(is_in_order AND follows)
),
called AS (
    SELECT c.process_key, count(*) AS calls
    FROM load.api_calls AS c JOIN attribute._call_kinds AS k ON k.name_id = c.name_id
    WHERE k.kind = 0
    GROUP BY c.process_key
),
launched AS (
    SELECT process_key, sum(launch_call_count) AS calls FROM attribute.work_by_occurrence GROUP BY process_key
),
odd_process AS (
    SELECT process_key
    FROM called FULL JOIN launched USING (process_key)
    WHERE called.calls IS DISTINCT FROM launched.calls
)
SELECT global_tid
FROM attribute._launch_lanes
WHERE device_id IN (SELECT device_id FROM unordered) OR (global_tid >> 24) IN (SELECT process_key FROM odd_process)
UNION
SELECT global_tid FROM attribute._launch_lanes GROUP BY global_tid HAVING count(*) > 1
