-- Names of kernels, calls and registered ranges.
-- Grain: string_id.
-- requires: nsys.StringIds
-- columns:
--   string_id BIGINT   Key used by the other tables.
--   value     VARCHAR  The text.
SELECT id AS string_id, arg_max(value, row_id) AS value FROM nsys.StringIds WHERE id IS NOT NULL GROUP BY id
