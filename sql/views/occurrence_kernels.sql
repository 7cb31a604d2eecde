-- Kernels of each occurrence of a phase, added up by name: what runs are compared by.
-- Grain: occurrence_id, name, family.
-- requires: views.gpu_work
-- columns:
--   phase         VARCHAR  Name of the phase.
--   occurrence_id BIGINT   The occurrence. Joins phases.
--   is_warmup     BOOLEAN  Whether it is inside warm-up.
--   is_cold       BOOLEAN  Whether it is cold: see phases.
--   name          VARCHAR  Short kernel name.
--   family        VARCHAR  What kind of work it is: 'gemm', 'attention', 'norm', ….
--   kernel_count  BIGINT   Kernels.
--   time_ns       BIGINT   Sum of their durations. Unit: ns.
SELECT
    phase, occurrence_id, is_warmup, is_cold, name, family, count(*) AS kernel_count, sum(dur_ns)::BIGINT AS time_ns
FROM views.gpu_work
WHERE kind = 'kernel' AND occurrence_id IS NOT NULL
GROUP BY phase, occurrence_id, is_warmup, is_cold, name, family
