-- What recorded the trace; which nsys, by the folder that it ran from: the export's metadata names the one that exported it.
-- Grain: one row.
-- materialize: table
-- requires: nsys.TARGET_INFO_SYSTEM_ENV, nsys.META_DATA_CAPTURE
-- columns:
--   recorder         VARCHAR 'nsys' or 'torch.profiler'.
--   recorder_version VARCHAR Such as '2024.2.3.38', NULL where the trace does not say.
SELECT
    coalesce((SELECT max(value) FROM nsys.META_DATA_CAPTURE WHERE name = 'torch_profiler:recorder'), 'nsys') AS recorder,
    nullif(max(regexp_extract(value, '(?i)nsight[- ]systems(?:-cli)?[-/\\ ](\d{4}(?:\.\d+)+)', 1)), '') AS recorder_version
FROM nsys.TARGET_INFO_SYSTEM_ENV
WHERE name = 'TargetInstallDir'
