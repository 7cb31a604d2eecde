-- Training steps of each rank: tokens, time, and utilization by the FLOPs that a step requires (MFU) and runs (HFU).
-- A step is from the end of the optimizer before it to the end of its own: optimizer, communication and the wait for input
-- are in its time. Required are forward and backward; run is also what checkpointing computes again in the backward, as far
-- as its kernels show: hfu_*_min is of the least that it may be. Stages of a pipeline have neither FLOPs nor utilization of their
-- own, since nothing says which layers each has; training_summary has those of all together.
-- Grain: process_id, step; where several threads of a process train, thread_id, step.
-- requires: estimate.training_steps, load.ranks, input.model
-- columns:
--   process_id           BIGINT   Operating-system pid. Joins processes.
--   thread_id            BIGINT   Operating-system tid, NULL if the process trains on one thread alone.
--   rank                 BIGINT   Joins ranks, NULL where nothing says.
--   step                 BIGINT   0, 1, 2, … of the rank.
--   is_complete          BOOLEAN  Whether all of its passes are in the trace.
--   is_warmup            BOOLEAN  Whether one of its passes is inside warm-up.
--   is_cold              BOOLEAN  Whether it, or one of its passes, is the first and far slower than the rest.
--   micro_batches        BIGINT   Forward passes with a backward.
--   tokens               BIGINT   Tokens of this GPU's share: of a step that N GPUs compute together, an N-th. Unit: tokens.
--   start_ns             BIGINT   Unit: ns.
--   end_ns               BIGINT   Unit: ns.
--   wall_ns              BIGINT   end_ns - start_ns. Unit: ns.
--   input_wait_ns        BIGINT   From its start to its first pass: data loading, and all else before it. Unit: ns.
--   device_count         BIGINT   GPUs that worked for it.
--   gpu_busy_ns          BIGINT   GPU busy time, added up over GPUs. Unit: ns.
--   flops                HUGEINT  Model FLOPs: forward and backward, nothing twice. Unit: FLOP.
--   recomputed_flops     HUGEINT  FLOPs that are run again; NULL where the trace does not show all of it. Unit: FLOP.
--   recomputed_min_flops HUGEINT  The least that they are. Unit: FLOP.
--   compute_ns           DOUBLE   Time that the model FLOPs take its GPUs at peak. Unit: ns.
--   recomputed_ns        DOUBLE   The same of what is run again. Unit: ns.
--   recomputed_min_ns    DOUBLE   The least that it is. Unit: ns.
--   mfu_wall             DOUBLE   Model FLOPs utilization of the step's time; NULL where the GPU was busy for longer.
--   mfu_busy             DOUBLE   The same of GPU busy time.
--   hfu_wall             DOUBLE   Utilization by all FLOPs that are run, of the step's time.
--   hfu_busy             DOUBLE   The same of GPU busy time.
--   hfu_wall_min         DOUBLE   hfu_wall of the least that is run again.
--   hfu_busy_min         DOUBLE   hfu_busy of the least that is run again.
--   is_lower_bound       BOOLEAN  Whether parts of the model, or whole forwards, that nobody counts may have run in it: FLOPs, MFU and HFU
--                                 are lower bounds. NULL without FLOPs.
--   is_upper_bound       BOOLEAN  Whether FLOPs and MFU are upper bounds, as for padding. NULL likewise.
--   is_tokens_upper_bound BOOLEAN Whether tokens are. NULL likewise.
--   is_hfu_upper_bound   BOOLEAN  Whether HFU is. NULL likewise.
WITH known AS (
    -- What each has, unless ranks are stages of a pipeline.
    SELECT lane, step, flops, recomputed_flops, recomputed_min_flops, compute_ns, recomputed_ns, recomputed_min_ns, mfu_wall, mfu_busy, hfu_wall, hfu_busy, hfu_wall_min, hfu_busy_min,
        is_lower_bound, is_upper_bound, is_hfu_upper_bound
    FROM estimate.training_steps
    WHERE (SELECT coalesce(max(pp), 1) FROM input.model) = 1
)
SELECT
    s.process_key & 16777215 AS process_id,
    CASE WHEN s.lane <> s.process_key THEN s.lane & 16777215 END AS thread_id,
    r.rank,
    s.step, s.is_complete, s.is_warmup, s.is_cold, s.micro_batches, s.tokens, s.start_ns, s.end_ns, s.wall_ns,
    s.input_wait_ns, s.device_count, s.gpu_busy_ns, k.flops, k.recomputed_flops, k.recomputed_min_flops,
    k.compute_ns, k.recomputed_ns, k.recomputed_min_ns, k.mfu_wall, k.mfu_busy, k.hfu_wall, k.hfu_busy,
    k.hfu_wall_min, k.hfu_busy_min, k.is_lower_bound, k.is_upper_bound, s.is_tokens_upper_bound, k.is_hfu_upper_bound
FROM estimate.training_steps AS s LEFT JOIN known AS k USING (lane, step) LEFT JOIN load.ranks AS r USING (process_key)
