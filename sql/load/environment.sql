-- Where the export holds environment variables of processes. Their values are not read.
-- Grain: place, variable.
-- materialize: table
-- requires: nsys.META_DATA_CAPTURE, nsys.TARGET_INFO_SYSTEM_ENV, nsys.StringIds
-- columns:
--   place    VARCHAR Table of the export.
--   variable VARCHAR Name of the variable. NULL: a whole environment.
SELECT DISTINCT 'META_DATA_CAPTURE' AS place, value AS variable
FROM nsys.META_DATA_CAPTURE
WHERE name LIKE '%ENVIRONMENT_VARIABLE%'
UNION ALL
SELECT DISTINCT 'TARGET_INFO_SYSTEM_ENV', NULL FROM nsys.TARGET_INFO_SYSTEM_ENV WHERE name = 'DeviceEnvironment'
UNION ALL
-- A block of variables is read as NULL.
SELECT DISTINCT 'StringIds', NULL FROM nsys.StringIds WHERE value IS NULL
