-- One row per occurrence of a phase as a chart of steps shows it, warm-up left out.
-- Grain: occurrence_id.
-- requires: views.phases
-- columns:
--   phase         VARCHAR Name of the phase.
--   occurrence    BIGINT  0, 1, 2, … within the phase, by start.
--   start_ns      BIGINT  When its range was opened. Unit: ns.
--   wall_ns       BIGINT  How long it was open. Unit: ns.
--   gpu_busy_ns   BIGINT  GPU busy time, added up over GPUs. Unit: ns.
--   batch         BIGINT  Sequences, NULL where the shape is not known.
--   context       BIGINT  Cached tokens per sequence, NULL where the shape is not known. Unit: tokens.
--   mfu_busy      DOUBLE  Model FLOPs utilization of busy time, NULL without a model.
--   mbu_busy      DOUBLE  Memory bandwidth utilization of busy time, NULL without a model.
SELECT
    phase, occurrence, start_ns, wall_ns, gpu_busy_ns, batch, cached_tokens // nullif(batch, 0) AS context, mfu_busy,
    mbu_busy
FROM views.phases
WHERE NOT is_warmup
