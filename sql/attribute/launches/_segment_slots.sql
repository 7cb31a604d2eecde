-- The stretches of range_segments cut at the bounds of equal slots of time, so that a call finds its stretch by a hash
-- join on thread and slot: an ASOF join would sort every call of the trace.
-- Empty where that would not pay: stretches are as many as operations, or crowd together in a few slots.
-- Grain: global_tid, slot, start_ns.
-- materialize: temporary
-- requires: attribute.range_segments, load.gpu_ops
-- columns:
--   global_tid    BIGINT  Joins load.threads.
--   slot          BIGINT  Number of the slot: time // width_ns.
--   width_ns      BIGINT  Width of a slot, the same in all rows. Unit: ns.
--   start_ns      BIGINT  Start of the stretch. Unit: ns.
--   until_ns      BIGINT  Start of the thread's next stretch. Unit: ns.
--   range_id      BIGINT  Innermost push/pop range. Joins load.nvtx_ranges.
--   occurrence_id BIGINT  Innermost push/pop phase. Joins attribute.phase_ranges.
WITH stretch AS MATERIALIZED (
    SELECT
        global_tid, start_ns, lead(start_ns) OVER (PARTITION BY global_tid ORDER BY start_ns) AS until_ns,
        range_id, occurrence_id
    FROM attribute.range_segments
    WHERE (SELECT count(*) FROM attribute.range_segments) <= (SELECT count(*) FROM load.gpu_ops)
    QUALIFY range_id IS NOT NULL OR occurrence_id IS NOT NULL
),
slot_width AS (
    SELECT greatest(1000, sum(until_ns - start_ns) // least(200000, 16 * count(*)))::BIGINT AS width_ns
    FROM stretch
    HAVING bool_and(until_ns IS NOT NULL)
),
slotted AS MATERIALIZED (
    SELECT
        s.global_tid, unnest(range(s.start_ns // w.width_ns, s.until_ns // w.width_ns + 1)) AS slot,
        w.width_ns, s.start_ns, s.until_ns, s.range_id, s.occurrence_id
    FROM stretch AS s CROSS JOIN slot_width AS w
)
SELECT global_tid, slot, width_ns, start_ns, until_ns, range_id, occurrence_id
FROM slotted
WHERE (SELECT max(n) FROM (SELECT count(*) AS n FROM slotted GROUP BY global_tid, slot)) <= 64
