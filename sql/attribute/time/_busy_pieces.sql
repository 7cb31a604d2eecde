-- Busy time of each GPU that does not go by its operation alone: pieces of it, each with the first of the running operations.
-- A piece that reaches over the end of a slot is cut there.
-- Grain: piece_id.
-- materialize: temporary
-- requires: attribute._device_order, attribute._window_slots
-- columns:
--   piece_id      BIGINT    Number of the piece.
--   device_id     BIGINT    Joins load.devices.
--   slot          UINTEGER  Joins attribute._window_slots.
--   start_ns      BIGINT    Unit: ns.
--   end_ns        BIGINT    Unit: ns.
--   rank          UTINYINT  See attribute._device_order.
--   occurrence_id BIGINT    Phase of the operation. Joins attribute.phase_ranges.
WITH odd AS (
    SELECT device_id, greatest(start_ns, reach_ns) AS first_ns, end_ns, rank, occurrence_id
    FROM attribute._device_order
    WHERE end_ns > reach_ns AND NOT is_plain
),
placed AS (
    SELECT o.*, coalesce(f.slot, b.slot) AS first_slot, l.slot AS last_slot
    FROM odd AS o
    JOIN (SELECT device_id, min(slot) AS slot FROM attribute._window_slots GROUP BY device_id) AS b
        ON b.device_id = o.device_id
    ASOF LEFT JOIN attribute._window_slots AS f ON f.device_id = o.device_id AND f.start_ns <= o.first_ns
    ASOF LEFT JOIN attribute._window_slots AS l ON l.device_id = o.device_id AND l.start_ns < o.end_ns
    WHERE l.slot IS NOT NULL
),
cut AS (
    SELECT device_id, first_ns, end_ns, rank, occurrence_id, unnest(range(first_slot, last_slot + 1))::UINTEGER AS slot FROM placed
)
SELECT
    row_number() OVER () AS piece_id, c.device_id, c.slot, greatest(c.first_ns, s.start_ns) AS start_ns,
    least(c.end_ns, s.end_ns) AS end_ns, c.rank, c.occurrence_id
FROM cut AS c JOIN attribute._window_slots AS s ON s.device_id = c.device_id AND s.slot = c.slot
WHERE s.end_ns IS NOT NULL
