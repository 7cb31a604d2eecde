-- What nsys noted while it recorded.
-- Grain: diagnostic_id.
-- requires: load.diagnostics
-- columns:
--   diagnostic_id BIGINT   Row of the export.
--   at_ns         BIGINT   When it was noted. Unit: ns.
--   severity      VARCHAR  'info', 'warning' or 'error'.
--   process_id    BIGINT   Operating-system pid, NULL when it is about the whole recording.
--   message       VARCHAR  The text.
SELECT diagnostic_id, at_ns, severity, process_id, message FROM load.diagnostics
