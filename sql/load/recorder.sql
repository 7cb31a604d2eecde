-- Which nsys recorded the trace, by the folder that it ran from. The export's metadata names the one that exported it.
-- Grain: one row.
-- materialize: table
-- requires: nsys.TARGET_INFO_SYSTEM_ENV
-- columns:
--   recorder_version VARCHAR Such as '2024.2.3.38', NULL where the trace does not say.
SELECT
    nullif(max(regexp_extract(value, '(?i)nsight[- ]systems(?:-cli)?[-/\\ ](\d{4}(?:\.\d+)+)', 1)), '') AS recorder_version
FROM nsys.TARGET_INFO_SYSTEM_ENV
WHERE name = 'TargetInstallDir'
