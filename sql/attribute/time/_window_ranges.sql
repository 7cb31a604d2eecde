-- Ranges that open or close the window of a GPU: requests, phases and warm-up, on each GPU that ranges of their thread gave
-- work. Without any phase or request: one row per GPU from the first launching call to the end of the last operation.
-- Phases that `--steps` and its like leave out are left out as warm-up is, but while the GPU still works for one that is kept; and so is time
-- in which nothing runs but work that they leave out.
-- Grain: range_id, device_id; of what is cut away one row for each stretch and thread.
-- materialize: table
-- requires: attribute._cut_work_alone, attribute._cut_phase_time, macros.exposed, macros.innermost_segments, macros.islands, attribute._warmup_segments, attribute.gpu_work, attribute.work_by_occurrence, attribute._request_spans, attribute._warmup_spans, attribute.occurrences
-- columns:
--   range_id   BIGINT   Joins load.nvtx_ranges, NULL for the whole trace.
--   kind       VARCHAR  'request', 'phase', 'warmup', 'cut' or 'trace'.
--   device_id  BIGINT   Joins load.devices.
--   global_tid BIGINT   Thread that opened it, -1 for the whole trace.
--   request_id BIGINT   Request around a phase. Joins load.nvtx_ranges, else NULL.
--   start_ns   BIGINT   Start of the range. Unit: ns.
--   until_ns   BIGINT   The later of its end and the end of the last work launched in it on this GPU. Unit: ns.
--   has_work   BOOLEAN  Whether it gave this GPU work.
--   is_left_out BOOLEAN  Whether it is not measured: warm-up, inside warm-up, cold, or work that is cut away.
WITH marked AS (
    SELECT
        r.span_id AS range_id, 'request' AS kind, r.lane AS global_tid, NULL::BIGINT AS request_id, r.start_ns, r.end_ns,
        w.span_id IS NOT NULL AS is_left_out
    FROM attribute._request_spans AS r
    ASOF LEFT JOIN attribute._warmup_segments AS w
        ON w.lane = r.lane AND w.start_ns <= r.start_ns
    UNION ALL
    SELECT occurrence_id, 'phase', global_tid, request_id, start_ns, end_ns, NOT is_measured FROM attribute.occurrences
    UNION ALL
    SELECT span_id, 'warmup', lane, NULL, start_ns, end_ns, true FROM attribute._warmup_spans
),
outside AS (
    SELECT coalesce(device_id, 0) AS device_id, global_tid, launch_start_ns, end_ns
    FROM attribute.gpu_work
    WHERE occurrence_id IS NULL AND api_id IS NOT NULL AND (SELECT count(*) FROM attribute._request_spans) > 0
),
work AS (
    SELECT occurrence_id AS range_id, coalesce(device_id, 0) AS device_id, last_end_ns
    FROM attribute.work_by_occurrence
    WHERE occurrence_id IS NOT NULL
    UNION ALL
    SELECT p.request_id, coalesce(w.device_id, 0), w.last_end_ns
    FROM attribute.work_by_occurrence AS w JOIN attribute.occurrences AS p USING (occurrence_id)
    WHERE p.request_id IS NOT NULL
    UNION ALL
    SELECT r.span_id, o.device_id, o.end_ns
    FROM outside AS o
    ASOF JOIN macros.innermost_segments('attribute._request_spans') AS r
        ON r.lane = o.global_tid AND r.start_ns <= o.launch_start_ns
    WHERE r.span_id IS NOT NULL
),
last_work AS (
    SELECT range_id, device_id, max(last_end_ns) AS last_end_ns FROM work GROUP BY range_id, device_id
),
used AS (
    SELECT DISTINCT m.global_tid, w.device_id FROM last_work AS w JOIN marked AS m USING (range_id)
),
whole AS (
    SELECT
        coalesce(device_id, 0) AS device_id, coalesce(min(launch_start_ns), min(start_ns)) AS start_ns,
        max(end_ns) AS end_ns
    FROM attribute.gpu_work
    WHERE (SELECT count(*) FROM marked WHERE kind <> 'warmup') = 0
    GROUP BY ALL
),
cut_phase AS MATERIALIZED (
    SELECT {'device_id': used.device_id, 'global_tid': c.global_tid} AS group_id, c.start_ns, c.end_ns
    FROM attribute._cut_phase_time AS c
    JOIN used ON used.global_tid = c.global_tid AND (c.device_id IS NULL OR c.device_id = used.device_id)
),
-- The host has gone on, to what is cut away: the GPU still works for what is not.
kept_tail AS MATERIALIZED (
    SELECT {'device_id': coalesce(w.device_id, 0), 'global_tid': p.global_tid} AS group_id, greatest(p.end_ns, w.first_start_ns) AS start_ns, w.last_end_ns AS end_ns
    FROM attribute.work_by_occurrence AS w JOIN attribute.occurrences AS p USING (occurrence_id)
    WHERE w.last_end_ns > greatest(p.end_ns, w.first_start_ns)
),
cut_away AS MATERIALIZED (
    SELECT {'device_id': c.group_id, 'global_tid': l.global_tid} AS group_id, c.start_ns, c.end_ns
    FROM attribute._cut_work_alone AS c
    JOIN (SELECT device_id, global_tid FROM used UNION ALL SELECT device_id, -1 FROM whole) AS l ON l.device_id = c.group_id
    UNION ALL
    SELECT group_id, start_ns, end_ns FROM macros.exposed('cut_phase', 'kept_tail')
)
SELECT
    m.range_id, m.kind, used.device_id, m.global_tid, m.request_id, m.start_ns,
    greatest(m.end_ns, coalesce(w.last_end_ns, m.end_ns)) AS until_ns, w.last_end_ns IS NOT NULL AS has_work, m.is_left_out
FROM marked AS m
JOIN used ON used.global_tid = m.global_tid
LEFT JOIN last_work AS w ON w.range_id = m.range_id AND w.device_id = used.device_id
UNION ALL
SELECT NULL, 'trace', device_id, -1, NULL, start_ns, end_ns, true, false FROM whole WHERE end_ns > start_ns
UNION ALL
SELECT NULL, 'cut', group_id.device_id, group_id.global_tid, NULL, start_ns, end_ns, false, true FROM macros.islands('cut_away')
