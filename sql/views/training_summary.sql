-- The training steps of all ranks together: MFU and HFU of the job, and tokens per second and GPU.
-- Over the steps that are complete, not warm-up and not cold. Times are added up over ranks, so that utilization is that of
-- all GPUs: what their FLOPs take at peak / the time that they had.
-- Grain: one row; no row without such a step.
-- empty without: estimate.training_steps
-- requires: estimate.training_steps, macros.covering_ns, macros.utilization, macros.whole_sum
-- columns:
--   steps                BIGINT   Steps, added up over ranks.
--   left_out             BIGINT   Steps of warm-up, cold and incomplete ones.
--   rank_count           BIGINT   Ranks.
--   device_count         BIGINT   GPUs, added up over ranks.
--   micro_batches        BIGINT   Forward passes with a backward, added up over steps.
--   tokens               BIGINT   Unit: tokens.
--   wall_ns              BIGINT   Time of the steps, added up over ranks. Unit: ns.
--   median_wall_ns       BIGINT   Median step. Unit: ns.
--   input_wait_ns        BIGINT   Time before the first pass of each step, in wall_ns. Unit: ns.
--   median_input_wait_ns BIGINT   Median over steps of the time before their first pass; rank_summary has that of each rank. Unit: ns.
--   gpu_busy_ns          BIGINT   GPU busy time, added up over GPUs. Unit: ns.
--   flops                HUGEINT  Model FLOPs. Unit: FLOP.
--   recomputed_flops     HUGEINT  FLOPs that are run again; NULL where the trace does not show all of it. Unit: FLOP.
--   recomputed_min_flops HUGEINT  The least that they are. Unit: FLOP.
--   tokens_per_s_per_gpu DOUBLE   Unit: tokens/s.
--   mfu_wall             DOUBLE   Model FLOPs utilization of the steps' time; NULL where the GPUs were busy for longer.
--   mfu_busy             DOUBLE   The same of GPU busy time.
--   hfu_wall             DOUBLE   Utilization by all FLOPs that are run, of the steps' time.
--   hfu_busy             DOUBLE   The same of GPU busy time.
--   hfu_wall_min         DOUBLE   hfu_wall of the least that is run again.
--   hfu_busy_min         DOUBLE   hfu_busy of the least that is run again.
--   is_lower_bound       BOOLEAN  Whether parts of the model, or whole forwards, that nobody counts may have run: FLOPs, MFU and HFU are
--                                 lower bounds. NULL without FLOPs.
--   is_upper_bound       BOOLEAN  Whether FLOPs and MFU are upper bounds, as for padding. NULL likewise.
--   is_tokens_upper_bound BOOLEAN Whether tokens, also those per second, are. NULL likewise.
--   is_hfu_upper_bound   BOOLEAN  Whether HFU is. NULL likewise.
WITH measured AS (
    FROM estimate.training_steps WHERE is_measured
),
total AS (
    SELECT
        count(*) AS steps, (SELECT count(*) FROM estimate.training_steps WHERE NOT is_measured) AS left_out,
        count(DISTINCT lane) AS rank_count, sum(micro_batches) AS micro_batches, macros.whole_sum(tokens) AS tokens,
        sum(wall_ns) AS wall_ns, median(wall_ns) AS median_wall_ns, sum(input_wait_ns) AS input_wait_ns,
        median(input_wait_ns) AS median_input_wait_ns, sum(gpu_busy_ns) AS gpu_busy_ns,
        sum(wall_ns * device_count) AS device_wall_ns, macros.whole_sum(flops) AS flops,
        macros.whole_sum(recomputed_flops) AS recomputed_flops, sum(recomputed_min_flops) AS recomputed_min_flops,
        macros.whole_sum(compute_ns * device_count) AS compute_ns,
        macros.whole_sum(recomputed_ns * device_count) AS recomputed_ns,
        sum(recomputed_min_ns * device_count) AS recomputed_min_ns, sum(padding_ns * device_count) AS padding_ns,
        bool_or(is_lower_bound) AS is_lower_bound, bool_or(is_upper_bound) AS is_upper_bound,
        bool_or(is_tokens_upper_bound) AS is_tokens_upper_bound, bool_or(is_hfu_upper_bound) AS is_hfu_upper_bound
    FROM measured
),
device AS (
    SELECT sum(device_count)::BIGINT AS device_count
    FROM (SELECT max(device_count) AS device_count FROM measured GROUP BY lane)
),
covered AS (
    SELECT t.*, d.device_count, macros.covering_ns(t.device_wall_ns, t.gpu_busy_ns, t.device_wall_ns) AS cover_ns
    FROM total AS t CROSS JOIN device AS d
    WHERE t.steps > 0
)
SELECT
    steps, left_out, rank_count, device_count, micro_batches::BIGINT AS micro_batches, tokens::BIGINT AS tokens,
    wall_ns::BIGINT AS wall_ns, median_wall_ns::BIGINT AS median_wall_ns, input_wait_ns::BIGINT AS input_wait_ns,
    median_input_wait_ns::BIGINT AS median_input_wait_ns,
    gpu_busy_ns::BIGINT AS gpu_busy_ns, flops, recomputed_flops, recomputed_min_flops,
    tokens / nullif(device_wall_ns, 0) * 1e9 AS tokens_per_s_per_gpu,
    macros.utilization(compute_ns, cover_ns) AS mfu_wall, macros.utilization(compute_ns, gpu_busy_ns) AS mfu_busy,
    macros.utilization(compute_ns + recomputed_ns + padding_ns, cover_ns) AS hfu_wall,
    macros.utilization(compute_ns + recomputed_ns + padding_ns, gpu_busy_ns) AS hfu_busy,
    macros.utilization(compute_ns + recomputed_min_ns + padding_ns, cover_ns) AS hfu_wall_min,
    macros.utilization(compute_ns + recomputed_min_ns + padding_ns, gpu_busy_ns) AS hfu_busy_min,
    is_lower_bound, is_upper_bound, is_tokens_upper_bound, is_hfu_upper_bound
FROM covered
