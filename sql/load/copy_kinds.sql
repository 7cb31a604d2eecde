-- Directions of copies, as nsys numbers them. Exports before 2022 have no table of them; the numbers are the same.
-- Source: ENUM_CUDA_MEMCPY_OPER of nsys 2024.6.
-- Grain: copy_kind_id.
-- requires: nsys.ENUM_CUDA_MEMCPY_OPER
-- columns:
--   copy_kind_id BIGINT   Number in the copy's row.
--   label        VARCHAR  'Host-to-Device', 'Device-to-Host', …
WITH known(id, "label") AS (
    VALUES (1, 'Host-to-Device'), (2, 'Device-to-Host'), (3, 'Host-to-Array'), (4, 'Array-to-Host'),
        (5, 'Array-to-Array'), (6, 'Array-to-Device'), (7, 'Device-to-Array'), (8, 'Device-to-Device'),
        (9, 'Host-to-Host'), (10, 'Peer-to-Peer'), (11, 'Unified Host-to-Device'), (12, 'Unified Device-to-Host'),
        (13, 'Unified Device-to-Device')
),
exported AS (
    SELECT id, arg_max("label", row_id) AS "label" FROM nsys.ENUM_CUDA_MEMCPY_OPER WHERE id IS NOT NULL GROUP BY id
)
SELECT id::BIGINT AS copy_kind_id, coalesce(exported."label", known."label") AS "label"
FROM known FULL JOIN exported USING (id)
