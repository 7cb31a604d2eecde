-- Phases whose GPUs take turns: for most of the time in which a GPU is idle, another GPU of the same process works. So it is if the
-- layers of a model lie on several GPUs (`device_map="auto"`), and one batch after the other runs through them.
-- Algorithm: of n GPUs of a process, one at least works for the length of the union of their work, and each for its own: n times the
-- union less the sum is the time in which one is idle while another works. It is compared with what the budget has of idle time.
-- Grain: phase, which is NULL in a trace without phases.
-- materialize: table
-- empty without: load.gpu_ops WHERE coalesce(device_id, 0) <> (SELECT min(coalesce(device_id, 0)) FROM load.gpu_ops)
-- requires: attribute.gpu_work, attribute.occurrences, attribute.phase_devices, attribute.phase_spending, macros.busy_ns
-- columns:
--   phase        VARCHAR The phase.
--   device_count BIGINT  GPUs of the process that has most of them.
--   turn_ns      BIGINT  Time in which a GPU is idle while another one of its process works, added up over GPUs. Unit: ns.
--   idle_ns      BIGINT  Idle time of all GPUs in the budget. Unit: ns.
WITH phased AS (
    SELECT phase, process_key FROM attribute.phase_devices GROUP BY phase, process_key HAVING count(DISTINCT device_id) > 1
),
unphased AS (
    SELECT process_key
    FROM attribute.gpu_work
    WHERE (SELECT count(*) FROM attribute.occurrences) = 0
    GROUP BY process_key
    HAVING count(DISTINCT device_id) > 1
),
work AS MATERIALIZED (
    SELECT p.phase, w.process_key, coalesce(w.device_id, 0) AS device_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.occurrences AS p USING (occurrence_id)
    SEMI JOIN phased AS s ON s.phase = p.phase AND s.process_key = w.process_key
    WHERE p.is_measured AND w.end_ns > w.start_ns
    UNION ALL
    SELECT NULL, w.process_key, coalesce(w.device_id, 0), w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w SEMI JOIN unphased AS s USING (process_key)
    WHERE w.end_ns > w.start_ns
),
of_device AS (
    SELECT {'phase': phase, 'process_key': process_key, 'device_id': device_id} AS group_id, start_ns, end_ns FROM work
),
of_process AS (
    SELECT {'phase': phase, 'process_key': process_key} AS group_id, start_ns, end_ns FROM work
),
summed AS (
    SELECT group_id.phase AS phase, group_id.process_key AS process_key, count(*) AS device_count, sum(busy_ns) AS busy_ns
    FROM macros.busy_ns('of_device')
    GROUP BY ALL
),
turn AS (
    SELECT s.phase, max(s.device_count) AS device_count, sum(s.device_count * u.busy_ns - s.busy_ns) AS turn_ns
    FROM summed AS s
    JOIN macros.busy_ns('of_process') AS u ON u.group_id = {'phase': s.phase, 'process_key': s.process_key}
    GROUP BY s.phase
),
idle AS (
    SELECT phase, phase_ns, host_ns + launch_ns + latency_ns + sync_ns + api_ns AS idle_ns FROM attribute.phase_spending
)
-- A GPU without work of the phase may run that of another one: it is idle no longer than the budget says.
SELECT t.phase, t.device_count, least(t.turn_ns, i.idle_ns)::BIGINT AS turn_ns, i.idle_ns
FROM turn AS t JOIN idle AS i ON i.phase IS NOT DISTINCT FROM t.phase
WHERE 4 * least(t.turn_ns, i.idle_ns) >= i.phase_ns AND 2 * t.turn_ns >= i.idle_ns AND i.idle_ns > 0
