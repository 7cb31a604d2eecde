-- NVTX ranges as the reports of `nsys stats` read them, for comparing with those reports.
-- A range that another thread ended is left out there, one without an end lasts until the last NVTX event, and the name
-- of a domain counts only where its creation holds the text itself.
-- Grain: range_id.
-- requires: nsys.NVTX_EVENTS, nsys.StringIds
-- columns:
--   range_id   BIGINT   Joins load.nvtx_ranges.
--   label      VARCHAR  'domain:text', or the text, '' where it has none.
--   style      VARCHAR  'PushPop' or 'StartEnd'.
--   global_tid BIGINT   Thread that opened it.
--   start_ns   BIGINT   Unit: ns.
--   end_ns     BIGINT   NULL where no range of the trace has an end. Unit: ns.
--   has_end    BOOLEAN  Whether its own end was recorded.
WITH last AS (
    SELECT CASE WHEN max("end") IS NOT NULL THEN greatest(max("start"), max("end")) END AS last_ns
    FROM nsys.NVTX_EVENTS
    WHERE eventType IN (59, 60, 70, 71)
),
domain AS (
    SELECT globalTid >> 24 AS process_key, domainId, arg_max("text", row_id) AS name
    FROM nsys.NVTX_EVENTS
    WHERE eventType = 75
    GROUP BY ALL
)
SELECT
    e.row_id AS range_id,
    coalesce(d.name || ':', '') || coalesce(s.value, e."text", '') AS "label",
    CASE WHEN e.eventType IN (59, 70) THEN 'PushPop' ELSE 'StartEnd' END AS style,
    e.globalTid AS global_tid, e."start" AS start_ns, coalesce(e."end", (SELECT last_ns FROM last)) AS end_ns,
    e."end" IS NOT NULL AS has_end
FROM nsys.NVTX_EVENTS AS e
LEFT JOIN nsys.StringIds AS s ON s.id = e.textId
LEFT JOIN domain AS d ON d.process_key = e.globalTid >> 24 AND d.domainId = e.domainId
WHERE e.eventType IN (59, 60, 70, 71) AND e.endGlobalTid IS NULL AND e.globalTid IS NOT NULL AND e."start" IS NOT NULL
