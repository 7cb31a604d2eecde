-- What kind of work each kernel does, by its names.
-- Grain: name_id, full_name_id.
-- materialize: table
-- requires: load.gpu_ops, load.strings, macros.kernel_family
-- columns:
--   name_id      BIGINT  Short name. Joins load.strings.
--   full_name_id BIGINT  Demangled name. Joins load.strings.
--   family       VARCHAR 'gemm', 'attention', 'norm', …; 'other' if no rule knows it.
SELECT k.name_id, k.full_name_id, macros.kernel_family(short.value, long.value) AS family
FROM (SELECT DISTINCT name_id, full_name_id FROM load.gpu_ops WHERE kind = 'kernel') AS k
LEFT JOIN load.strings AS short ON short.string_id = k.name_id
LEFT JOIN load.strings AS long ON long.string_id = k.full_name_id
