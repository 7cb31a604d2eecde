-- For each phase on each GPU: whether work of its occurrences is interleaved, so that their busy times may share time.
-- Grain: phase, device_id, process_key.
-- materialize: table
-- requires: attribute.work_by_occurrence, attribute.phase_ranges, macros.first_timed_ns
-- columns:
--   phase          VARCHAR  Name of the phase.
--   device_id      BIGINT   Joins load.devices.
--   process_key    BIGINT   Joins load.processes.
--   first_start_ns BIGINT   Start of the first operation. Unit: ns.
--   last_end_ns    BIGINT   End of the last. Unit: ns.
--   is_interleaved BOOLEAN  Whether one occurrence's work starts before an earlier one's has ended.
--   is_shared      BOOLEAN  Whether several processes work for the phase on this GPU.
WITH span AS (
    SELECT
        p.phase, w.device_id, w.process_key, w.first_start_ns, w.last_end_ns,
        w.first_start_ns < max(w.last_end_ns) OVER (
            PARTITION BY p.phase, w.device_id, w.process_key ORDER BY w.first_start_ns
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS starts_inside
    FROM attribute.work_by_occurrence AS w JOIN attribute.phase_ranges AS p USING (occurrence_id)
)
SELECT
    -- Work without times, from 0 to 0, is in no span.
    phase, device_id, process_key,
    macros.first_timed_ns(first_start_ns, last_end_ns) AS first_start_ns, max(last_end_ns) AS last_end_ns,
    coalesce(bool_or(starts_inside), false) AS is_interleaved,
    count(*) OVER (PARTITION BY phase, device_id) > 1 AS is_shared
FROM span
GROUP BY phase, device_id, process_key
