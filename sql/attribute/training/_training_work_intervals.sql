-- GPU work of each training step: that of its passes, and what is launched during it in no pass, as the norm of gradients.
-- Grain: op_id; evaluation between two steps is left out.
-- requires: attribute.gpu_work, attribute.training_passes, attribute._lone_forwards, attribute.training_step_spans
-- columns:
--   group_id VARCHAR  Lane, step and GPU as JSON.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
WITH work AS (
    SELECT
        w.device_id, w.start_ns, w.end_ns, w.launch_start_ns, p.occurrence_id IS NULL AS is_in_no_pass, p.lane,
        coalesce(p.step, l.step) AS step,
        CASE
            WHEN w.global_tid IN (SELECT lane FROM attribute.training_step_spans) THEN w.global_tid ELSE w.process_key
        END AS launch_lane
    FROM attribute.gpu_work AS w
    LEFT JOIN attribute.training_passes AS p USING (occurrence_id)
    LEFT JOIN attribute._lone_forwards AS l ON l.occurrence_id = w.occurrence_id
    SEMI JOIN attribute.training_step_spans AS s ON s.process_key = w.process_key
)
SELECT json_array(lane, step, device_id)::VARCHAR AS group_id, start_ns, end_ns FROM work WHERE step IS NOT NULL
UNION ALL
SELECT json_array(s.lane, s.step, w.device_id)::VARCHAR, w.start_ns, w.end_ns
FROM (FROM work WHERE is_in_no_pass) AS w
ASOF JOIN attribute.training_step_spans AS s ON s.lane = w.launch_lane AND s.start_ns <= w.launch_start_ns
WHERE w.launch_start_ns < s.end_ns
