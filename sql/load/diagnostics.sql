-- What nsys noted while it recorded.
-- Grain: diagnostic_id.
-- empty without: nsys.DIAGNOSTIC_EVENT
-- requires: nsys.DIAGNOSTIC_EVENT
-- columns:
--   diagnostic_id BIGINT   Row of the export.
--   at_ns         BIGINT   When it was noted. Unit: ns.
--   severity      VARCHAR  'info', 'warning' or 'error'.
--   process_id    BIGINT   Operating-system pid, NULL when it is about the whole recording.
--   message       VARCHAR  The text.
SELECT
    row_id AS diagnostic_id,
    "timestamp" AS at_ns,
    CASE severity WHEN 1 THEN 'info' WHEN 2 THEN 'warning' ELSE 'error' END AS severity,
    nullif((globalPid >> 24) & 16777215, 0) AS process_id,
    trim(regexp_replace("text", '\s+', ' ', 'g')) AS message
FROM nsys.DIAGNOSTIC_EVENT
