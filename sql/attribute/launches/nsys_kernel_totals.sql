-- Kernels by their demangled name, as the report `cuda_gpu_kern_sum` of nsys adds them up.
-- Grain: kernel.
-- requires: attribute.kernel_totals, load.strings
-- columns:
--   kernel  VARCHAR Demangled name, '' if the trace does not spell it out.
--   count   BIGINT  Kernels.
--   time_ns BIGINT  Sum of their durations. Unit: ns.
SELECT coalesce(n.value, '') AS kernel, sum(k."count")::BIGINT AS "count", sum(k.time_ns)::BIGINT AS time_ns
FROM attribute.kernel_totals AS k LEFT JOIN load.strings AS n ON n.string_id = k.full_name_id
GROUP BY ALL
