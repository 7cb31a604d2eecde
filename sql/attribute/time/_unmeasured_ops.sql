-- Work outside every phase that starts in no measured time of its GPU: before the first request, between steps, in warm-up.
-- What is outside every phase is weighed against the measured time that it takes, so that this work is in no cause.
-- Grain: op_id.
-- materialize: table
-- empty without: attribute._window_ranges WHERE kind <> 'trace'
-- requires: attribute.gpu_work, attribute.windows, attribute._window_ranges
-- columns:
--   op_id        BIGINT  Joins attribute.gpu_work.
--   is_kernel    BOOLEAN Whether it is a kernel.
--   name_id      BIGINT  Short kernel name. Joins load.strings.
--   full_name_id BIGINT  Demangled kernel name. Joins load.strings.
--   time_ns      BIGINT  Its duration. Unit: ns.
SELECT w.op_id, w.kind = 'kernel' AS is_kernel, w.name_id, w.full_name_id, w.end_ns - w.start_ns AS time_ns
FROM (SELECT * FROM attribute.gpu_work WHERE occurrence_id IS NULL) AS w
ASOF LEFT JOIN attribute.windows AS m ON m.device_id = coalesce(w.device_id, 0) AND m.start_ns <= w.start_ns
WHERE coalesce(m.end_ns <= w.start_ns, true) AND EXISTS (FROM attribute._window_ranges WHERE kind <> 'trace')
