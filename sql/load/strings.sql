-- Names of kernels, calls and registered ranges.
-- Grain: string_id.
-- requires: nsys.StringIds
-- columns:
--   string_id BIGINT   Key used by the other tables.
--   value     VARCHAR  The text.
SELECT id AS string_id, any_value(value) AS value FROM nsys.StringIds GROUP BY id
