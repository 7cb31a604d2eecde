-- The one row of facts about the recording as a whole.
-- Grain: one row. Without any timed event the times are NULL.
-- materialize: table
-- requires: nsys.NVTX_EVENTS, nsys.CUPTI_ACTIVITY_KIND_RUNTIME, nsys.CUPTI_ACTIVITY_KIND_KERNEL, nsys.CUPTI_ACTIVITY_KIND_MEMCPY, nsys.CUPTI_ACTIVITY_KIND_MEMSET, nsys.CUPTI_ACTIVITY_KIND_GRAPH_TRACE, nsys.ANALYSIS_DETAILS, nsys.UNREAD_WORK
-- columns:
--   first_ns    BIGINT  Start of the first recorded event. Unit: ns.
--   last_ns     BIGINT  End of the recording: of its last event or as nsys states it, whichever is later. Unit: ns.
--   duration_ns BIGINT  Length of the recording as nsys states it, else last_ns - first_ns. Unit: ns.
--   untimed_count BIGINT  Operations of the GPU without times, from 0 to 0 or from and to the same instant before the recording: CUPTI could not take their times.
--   deviceless_count BIGINT  Operations of the GPU that do not say which GPU ran them.
--   uncounted_tables VARCHAR  Tables of the export with GPU work that no number here is about, NULL for none.
--   uncounted_ns BIGINT  Durations in them, added up. Unit: ns.
WITH work AS (
    SELECT "start", "end", deviceId FROM nsys.CUPTI_ACTIVITY_KIND_KERNEL
    UNION ALL SELECT "start", "end", deviceId FROM nsys.CUPTI_ACTIVITY_KIND_MEMCPY
    UNION ALL SELECT "start", "end", deviceId FROM nsys.CUPTI_ACTIVITY_KIND_MEMSET
    UNION ALL SELECT "start", "end", deviceId FROM nsys.CUPTI_ACTIVITY_KIND_GRAPH_TRACE
),
extent AS (
    SELECT min("start") AS first_ns, greatest(max("start"), max("end")) AS last_ns, 0 AS untimed_count, 0 AS deviceless_count
    FROM nsys.NVTX_EVENTS
    UNION ALL SELECT min("start"), max("end"), 0, 0 FROM nsys.CUPTI_ACTIVITY_KIND_RUNTIME
    UNION ALL SELECT
        min("start") FILTER (WHERE NOT ("start" = "end" AND "start" <= 0)), max("end"), count(*) FILTER (WHERE "start" = "end" AND "start" <= 0),
        count(*) - count(deviceId)
    FROM work
)
SELECT
    min(first_ns) AS first_ns,
    -- Events count from the start of the recording, so its duration is its end.
    greatest(max(last_ns), (SELECT max(duration) FROM nsys.ANALYSIS_DETAILS WHERE duration > 0)) AS last_ns,
    coalesce((SELECT max(duration) FROM nsys.ANALYSIS_DETAILS WHERE duration > 0), max(last_ns) - min(first_ns))
        AS duration_ns,
    sum(untimed_count)::BIGINT AS untimed_count, sum(deviceless_count)::BIGINT AS deviceless_count,
    (SELECT string_agg(table_name, ', ' ORDER BY table_name) FROM nsys.UNREAD_WORK) AS uncounted_tables,
    (SELECT sum(time_ns)::BIGINT FROM nsys.UNREAD_WORK) AS uncounted_ns
FROM extent
