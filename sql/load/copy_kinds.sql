-- Directions of copies, as nsys numbers them.
-- Grain: copy_kind_id; empty in exports without ENUM_CUDA_MEMCPY_OPER.
-- requires: nsys.ENUM_CUDA_MEMCPY_OPER
-- columns:
--   copy_kind_id BIGINT   Number in the copy's row.
--   label        VARCHAR  'Host-to-Device', 'Device-to-Host', …
SELECT id AS copy_kind_id, any_value("label") AS "label" FROM nsys.ENUM_CUDA_MEMCPY_OPER GROUP BY id
