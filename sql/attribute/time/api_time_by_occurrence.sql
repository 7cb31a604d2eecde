-- Time that the thread of each push/pop phase spends inside CUDA calls while the phase is the innermost one on it.
-- A call counts from its entry to its return, or to the end of the phase's range. nsys records no call inside another;
-- rows that `--cudabacktrace` records twice count once.
-- Algorithm: stretches of phases are cut at the bounds of equal time slots, so that a call finds its stretch by a hash
-- join on thread and slot. An ASOF join would sort every call.
-- Grain: occurrence_id; a phase without calls is absent.
-- materialize: table
-- requires: load.api_calls, attribute._repeated_links, attribute._phase_segments, attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
--   api_time_ns   BIGINT  Time inside calls. Unit: ns.
WITH stretch AS (
    SELECT s.global_tid, s.occurrence_id, s.start_ns, coalesce(s.end_ns, p.end_ns + 1) AS until_ns, p.end_ns
    FROM attribute._phase_segments AS s JOIN attribute.phase_ranges AS p USING (occurrence_id)
),
slot_width AS (
    SELECT greatest(1000, sum(until_ns - start_ns) // least(200000, 16 * count(*)))::BIGINT AS width_ns FROM stretch
),
slotted AS (
    SELECT
        s.global_tid, s.occurrence_id, s.start_ns, s.until_ns, s.end_ns,
        unnest(range(s.start_ns // w.width_ns, s.until_ns // w.width_ns + 1)) AS slot
    FROM stretch AS s CROSS JOIN slot_width AS w
),
doubled AS (
    SELECT count(*) > 0 AS is_doubled FROM attribute._repeated_links
),
call AS (
    SELECT global_tid, start_ns, end_ns FROM load.api_calls WHERE NOT (SELECT is_doubled FROM doubled)
    UNION ALL
    SELECT global_tid, start_ns, max(end_ns) FROM load.api_calls WHERE (SELECT is_doubled FROM doubled)
    GROUP BY global_tid, correlation_id, start_ns
),
slotted_call AS (
    SELECT c.global_tid, c.start_ns, c.end_ns, c.start_ns // w.width_ns AS slot
    FROM call AS c CROSS JOIN slot_width AS w
)
SELECT
    s.occurrence_id, sum(greatest(0, least(c.end_ns, s.end_ns) - c.start_ns))::BIGINT AS api_time_ns
FROM slotted_call AS c
JOIN slotted AS s
    ON s.global_tid = c.global_tid AND s.slot = c.slot AND c.start_ns >= s.start_ns AND c.start_ns < s.until_ns
GROUP BY s.occurrence_id
