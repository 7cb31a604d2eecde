-- Busy time of each GPU by slot, phase and class: `compute` while any kernel computes; else, while kernels communicate, `wait`
-- if each of them waits for another rank, else `transfer`; else `copy`. It belongs to the phase of the operation that started first of those running.
-- Algorithm: only a copy or a communicating kernel that is the first of those running can hide that a kernel which started
-- later computes. Their pieces are swept together with those kernels; pieces do not overlap, so that the running sum of
-- their numbers is the number of the open one. All GPUs are swept one after the other: what opens on one closes there, and
-- between two GPUs no piece is open. Between bounds of one instant no time passes, whatever their order.
-- All is sorted once, and the windows have no order of their own: see attribute._device_order.
-- Grain: device_id, slot, occurrence_id, class.
-- materialize: table
-- requires: macros.islands, attribute._device_order, attribute._plain_sums, attribute._busy_pieces, attribute._overlapping_work, attribute.collective_waits
-- columns:
--   device_id     BIGINT   Joins load.devices.
--   slot          UINTEGER Joins attribute._window_slots.
--   occurrence_id BIGINT   Joins attribute.phase_ranges, NULL outside every phase.
--   class         VARCHAR  'compute', 'transfer', 'wait' or 'copy'.
--   time_ns       BIGINT   Unit: ns.
WITH island AS MATERIALIZED (
    SELECT group_id, start_ns, end_ns FROM macros.islands('attribute._overlapping_work')
),
bound AS (
    SELECT device_id, start_ns AS at_ns, piece_id, 1 AS open, 0 AS compute, 0 AS kernel, 0 AS moving
    FROM attribute._busy_pieces
    WHERE rank < 2
    UNION ALL
    SELECT device_id, end_ns, -piece_id, -1, 0, 0, 0 FROM attribute._busy_pieces WHERE rank < 2
    UNION ALL
    SELECT group_id // 2, start_ns, 0, 0, 1 - group_id % 2, group_id % 2, 0 FROM island
    UNION ALL
    SELECT group_id // 2, end_ns, 0, 0, group_id % 2 - 1, -group_id % 2, 0 FROM island
    UNION ALL
    SELECT device_id, unnest([start_ns, end_ns]), 0, 0, 0, 0, unnest([1, -1]) FROM attribute._device_order WHERE rank = 1
    UNION ALL
    SELECT device_id, unnest([start_ns, end_ns]), 0, 0, 0, 0, unnest([-1, 1]) FROM attribute.collective_waits
),
stretch AS (
    SELECT
        lead(at_ns) OVER () - at_ns AS time_ns,
        sum(piece_id) OVER running AS piece_id, sum(open) OVER running AS open, sum(compute) OVER running AS compute,
        sum(kernel) OVER running AS kernel, sum(moving) OVER running AS moving
    FROM (
        SELECT *
        FROM bound
        -- Without such pieces there is nothing to sweep.
        WHERE (SELECT count(*) FROM attribute._busy_pieces WHERE rank < 2) > 0
        ORDER BY device_id, at_ns
    )
    WINDOW running AS (ROWS UNBOUNDED PRECEDING)
),
swept AS (
    SELECT
        p.device_id, p.slot, p.occurrence_id,
        CASE
            WHEN s.compute > 0 THEN 'compute'
            WHEN p.rank = 0 AND s.kernel = 0 THEN 'copy'
            WHEN s.moving > 0 THEN 'transfer'
            ELSE 'wait'
        END AS class,
        s.time_ns
    FROM stretch AS s JOIN attribute._busy_pieces AS p ON p.piece_id = s.piece_id
    WHERE s.open = 1
),
timed AS (
    SELECT device_id, slot, occurrence_id, 'compute' AS class, compute_ns AS time_ns FROM attribute._plain_sums
    UNION ALL
    SELECT device_id, slot, occurrence_id, 'compute', sum(end_ns - start_ns)
    FROM attribute._busy_pieces
    WHERE rank = 2
    GROUP BY ALL
    UNION ALL
    SELECT device_id, slot, occurrence_id, class, sum(time_ns) FROM swept GROUP BY ALL
)
SELECT device_id, slot, occurrence_id, class, sum(time_ns)::BIGINT AS time_ns
FROM timed
GROUP BY device_id, slot, occurrence_id, class
HAVING sum(time_ns) > 0
