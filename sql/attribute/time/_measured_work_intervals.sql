-- GPU work of phases outside warm-up on GPUs whose counters were sampled, as intervals of the phase on a GPU.
-- Grain: one row per operation; empty where the capture sampled no counters.
-- requires: attribute.gpu_work, attribute.occurrences, load.counter_samples
-- columns:
--   group_id STRUCT(lane BIGINT, phase VARCHAR)  The GPU and the phase.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT {'lane': coalesce(w.device_id, 0), 'phase': p.phase} AS group_id, w.start_ns, w.end_ns
FROM attribute.gpu_work AS w
JOIN attribute.occurrences AS p USING (occurrence_id)
SEMI JOIN (SELECT DISTINCT lane FROM load.counter_samples) AS sampled ON sampled.lane = coalesce(w.device_id, 0)
WHERE p.is_measured
