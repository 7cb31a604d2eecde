-- When each GPU is busy with each phase, and with all else: warm-up, cold occurrences, work outside the phases, work that a window leaves out.
-- Grain: lane, group_id, start_ns; empty where the capture sampled no counters.
-- materialize: table
-- empty without: load.counter_samples
-- requires: macros.islands, attribute.gpu_work, attribute.occurrences, input.cut_work, load.counter_samples
-- columns:
--   lane     BIGINT   GPU. Joins load.devices on device_id.
--   group_id VARCHAR  The phase; NULL for all else.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
WITH work AS (
    SELECT
        {'lane': coalesce(w.device_id, 0), 'phase': CASE WHEN p.is_measured THEN p.phase END} AS group_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    SEMI JOIN (SELECT DISTINCT lane FROM load.counter_samples) AS sampled ON sampled.lane = coalesce(w.device_id, 0)
    UNION ALL
    SELECT {'lane': c.group_id, 'phase': NULL}, c.start_ns, c.end_ns
    FROM input.cut_work AS c SEMI JOIN (SELECT DISTINCT lane FROM load.counter_samples) AS sampled ON sampled.lane = c.group_id
)
SELECT group_id.lane AS lane, group_id.phase AS group_id, start_ns, end_ns
FROM macros.islands('work')
