-- Host time of phases, warm-up left out, as intervals of each GPU that their thread gives work of the phase.
-- Grain: occurrence_id, GPU, start_ns.
-- requires: attribute.occurrences, attribute._host_intervals, attribute.work_by_occurrence
-- columns:
--   phase     VARCHAR  Name of the phase.
--   device_id BIGINT   GPU of the machine. Joins load.devices.
--   start_ns  BIGINT   Unit: ns.
--   end_ns    BIGINT   Unit: ns.
WITH used AS (
    SELECT DISTINCT p.phase, p.global_tid, coalesce(w.device_id, 0) AS device_id
    FROM attribute.work_by_occurrence AS w JOIN attribute.occurrences AS p USING (occurrence_id)
)
SELECT p.phase, used.device_id, h.start_ns, h.end_ns
FROM attribute.occurrences AS p
JOIN attribute._host_intervals AS h USING (occurrence_id)
JOIN used ON used.phase = p.phase AND used.global_tid = p.global_tid
WHERE p.is_measured
