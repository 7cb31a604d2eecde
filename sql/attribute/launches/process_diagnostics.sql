-- What nsys noted while it recorded, but for what is only informative, with whether it is about a process without GPU work.
-- Grain: one row per message.
-- requires: load.diagnostics, attribute.phase_ranges, attribute.work_by_occurrence
-- columns:
--   level   BIGINT  nsys' own: 2 warning, 3 error.
--   message VARCHAR Its words.
--   is_idle BOOLEAN Whether the process has phases and no GPU work.
SELECT
    CASE severity WHEN 'warning' THEN 2 ELSE 3 END::BIGINT AS level, message,
    coalesce(
        process_id IN (SELECT process_key & 16777215 FROM attribute.phase_ranges)
        AND process_id NOT IN (SELECT process_key & 16777215 FROM attribute.work_by_occurrence),
        false
    ) AS is_idle
FROM load.diagnostics
WHERE severity <> 'info'
