-- NVTX marks: instants with a text.
-- Grain: mark_id.
-- requires: nsys.NVTX_EVENTS, load.strings
-- columns:
--   mark_id     BIGINT   Row of the export.
--   process_key BIGINT   Joins load.processes.
--   global_tid  BIGINT   Joins load.threads.
--   at_ns       BIGINT   Unit: ns.
--   text        VARCHAR  Its text.
SELECT
    e.row_id AS mark_id, e.globalTid >> 24 AS process_key, e.globalTid AS global_tid, e."start" AS at_ns,
    coalesce(s.value, e."text", '') AS "text"
FROM nsys.NVTX_EVENTS AS e LEFT JOIN load.strings AS s ON s.string_id = e.textId
WHERE e.eventType = 34
