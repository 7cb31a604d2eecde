-- Training steps of each rank: tokens, time, and utilization by the FLOPs that a step requires (MFU) and runs (HFU).
-- A step is from the end of the optimizer before it to the end of its own: optimizer, communication and the wait for input
-- are in its time; where measured steps begin and end it is the GPU's time, if the host runs ahead. Required are forward and backward; run is also what checkpointing computes again in the backward, as far
-- as its kernels show: hfu_*_min is of the least that it may be. What runs for padding is in both.
-- Grain: lane, step.
-- materialize: table
-- empty without: attribute.training_step_spans
-- requires: attribute.training_step_spans, attribute._training_step_borders, attribute.training_passes, attribute.gpu_work, attribute._lone_forwards, estimate.occurrence_costs, estimate.occurrence_bounds, estimate.phase_costs, estimate.doubtful_passes, input.occurrence_shapes, input.shapes, input.model, macros.busy_ns, macros.covering_ns, macros.utilization, macros.whole_sum
-- columns:
--   lane                 BIGINT   Whose steps they are: see attribute.training_passes.
--   process_key          BIGINT   Joins load.processes.
--   step                 BIGINT   0, 1, 2, … of the rank.
--   is_complete          BOOLEAN  Whether all of its passes are in the trace.
--   is_warmup            BOOLEAN  Whether one of its passes is inside warm-up.
--   is_cold              BOOLEAN  Whether it, or one of its passes, is the first and far slower than the rest.
--   is_measured          BOOLEAN  Whether it counts in what is measured: see attribute.training_step_spans.
--   micro_batches        BIGINT   Forward passes with a backward.
--   tokens               BIGINT   Tokens of this GPU's share: of a step that N GPUs compute together, an N-th; NULL where
--                                 nobody says how many do. Unit: tokens.
--   start_ns             BIGINT   Unit: ns.
--   end_ns               BIGINT   Unit: ns.
--   wall_ns              BIGINT   end_ns - start_ns. Unit: ns.
--   input_wait_ns        BIGINT   From its start to its first pass: data loading, and all else before it. Unit: ns.
--   device_count         BIGINT   GPUs that worked for it.
--   gpu_busy_ns          BIGINT   GPU busy time, added up over GPUs. Unit: ns.
--   flops                HUGEINT  Model FLOPs: forward and backward, nothing twice. Unit: FLOP.
--   recomputed_flops     HUGEINT  FLOPs that are run again; NULL where the trace does not show all of it. Unit: FLOP.
--   recomputed_min_flops HUGEINT  The least that they are. Unit: FLOP.
--   compute_ns           DOUBLE   Time that the model FLOPs take its GPUs at peak; NULL if a phase would do more than they can. Unit: ns.
--   recomputed_ns        DOUBLE   The same of what is run again. Unit: ns.
--   recomputed_min_ns    DOUBLE   The least that it is. Unit: ns.
--   padding_ns           DOUBLE   The same of what is run for padding. Unit: ns.
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
WITH step_work AS (
    -- That of its passes, and what is launched during it in no pass, as the norm of gradients; evaluation between two steps is left out.
    WITH work AS (
        SELECT
            w.device_id, w.start_ns, w.end_ns, w.launch_start_ns, p.occurrence_id IS NULL AS is_in_no_pass, p.lane,
            coalesce(p.step, l.step) AS step,
            CASE
                WHEN w.global_tid IN (SELECT lane FROM attribute.training_step_spans) THEN w.global_tid ELSE w.process_key
            END AS launch_lane
        FROM attribute.gpu_work AS w
        LEFT JOIN attribute.training_passes AS p USING (occurrence_id)
        LEFT JOIN attribute._lone_forwards AS l ON l.occurrence_id = w.occurrence_id
        SEMI JOIN attribute.training_step_spans AS s ON s.process_key = w.process_key
    )
    SELECT json_array(lane, step, device_id)::VARCHAR AS group_id, start_ns, end_ns FROM work WHERE step IS NOT NULL
    UNION ALL
    SELECT json_array(s.lane, s.step, w.device_id)::VARCHAR, w.start_ns, w.end_ns
    FROM (FROM work WHERE is_in_no_pass) AS w
    ASOF JOIN attribute.training_step_spans AS s ON s.lane = w.launch_lane AND s.start_ns <= w.launch_start_ns
    WHERE w.launch_start_ns < s.end_ns
),
possible AS (
    -- What one pass cannot have done in its time, its step has not done either: see the finding impossible_utilization.
    SELECT coalesce(max(highest_ratio) FILTER (phase IN ('forward', 'backward', 'forward_backward', 'step')), 0) <= 1 AS is_possible
    FROM estimate.phase_costs
),
pass AS (
    SELECT
        t.lane, t.step, t.part, CASE WHEN u.phase IS NULL THEN s.new_tokens END AS new_tokens, c.flops,
        CASE WHEN x.is_possible THEN c.compute_ns * c.device_count END AS device_ns, c.recomputed_flops, c.recomputed_min_flops, c.padding_flops,
        b.is_lower_bound, b.is_upper_bound, b.is_tokens_upper_bound, b.is_hfu_upper_bound,
        CASE WHEN x.is_possible THEN c.compute_ns * c.device_count END / nullif(c.flops, 0) AS ns_per_flop
    FROM attribute.training_passes AS t
    CROSS JOIN possible AS x
    LEFT JOIN estimate.occurrence_costs AS c USING (occurrence_id)
    LEFT JOIN estimate.occurrence_bounds AS b USING (occurrence_id)
    LEFT JOIN estimate.doubtful_passes AS u ON u.phase = t.part
    LEFT JOIN input.occurrence_shapes AS o USING (occurrence_id)
    LEFT JOIN input.shapes AS s ON s.shape_id = o.shape_id
    WHERE t.step IS NOT NULL AND t.part <> 'optimizer'
),
-- Times here are those of GPUs, added up: passes of one step may have other GPUs, as DataParallel's forwards have one each
-- and their backward has all.
cost AS (
    SELECT
        lane, step,
        macros.whole_sum(flops::HUGEINT) AS flops,
        macros.whole_sum(device_ns) AS compute_ns,
        CASE
            WHEN count(new_tokens) FILTER (part <> 'backward') = count(*) FILTER (part <> 'backward')
                THEN sum(new_tokens) FILTER (part <> 'backward')
        END AS tokens,
        CASE
            WHEN count(recomputed_flops) FILTER (part <> 'forward') = count(*) FILTER (part <> 'forward')
                THEN sum(recomputed_flops::HUGEINT) FILTER (part <> 'forward')
        END AS recomputed_flops,
        sum(recomputed_min_flops::HUGEINT) FILTER (part <> 'forward') AS recomputed_min_flops,
        CASE
            WHEN count(recomputed_flops) FILTER (part <> 'forward') = count(*) FILTER (part <> 'forward')
                THEN sum(recomputed_flops * ns_per_flop) FILTER (part <> 'forward')
        END AS recomputed_ns,
        sum(recomputed_min_flops * ns_per_flop) FILTER (part <> 'forward') AS recomputed_min_ns,
        coalesce(sum(padding_flops * ns_per_flop), 0) AS padding_ns,
        bool_or(is_lower_bound) AS is_lower_bound, bool_or(is_upper_bound) AS is_upper_bound,
        bool_or(is_tokens_upper_bound) AS is_tokens_upper_bound, bool_or(is_hfu_upper_bound) AS is_hfu_upper_bound
    FROM pass
    GROUP BY lane, step
),
busy AS (
    SELECT
        json_extract(group_id, '$[0]')::BIGINT AS lane, json_extract(group_id, '$[1]')::BIGINT AS step,
        count(*) AS device_count, sum(busy_ns)::BIGINT AS gpu_busy_ns
    FROM macros.busy_ns('step_work')
    GROUP BY ALL
),
degree AS (
    SELECT coalesce(max(ranks), 1) AS gpus FROM input.model
),
step AS (
    SELECT
        s.* REPLACE (t.start_ns AS start_ns, t.end_ns AS end_ns), t.end_ns - t.start_ns AS wall_ns, (c.tokens / d.gpus)::BIGINT AS tokens,
        coalesce(b.device_count, 0) AS device_count, coalesce(b.gpu_busy_ns, 0) AS gpu_busy_ns,
        c.flops, c.recomputed_flops, c.recomputed_min_flops, c.compute_ns / nullif(b.device_count, 0) AS compute_ns,
        c.recomputed_ns / nullif(b.device_count, 0) AS recomputed_ns, c.recomputed_min_ns / nullif(b.device_count, 0) AS recomputed_min_ns,
        c.padding_ns / nullif(b.device_count, 0) AS padding_ns,
        CASE
            WHEN c.flops IS NOT NULL
                THEN c.is_lower_bound OR EXISTS (FROM attribute._lone_forwards AS l WHERE l.lane = s.lane AND l.step = s.step)
        END AS is_lower_bound,
        CASE WHEN c.flops IS NOT NULL THEN c.is_upper_bound END AS is_upper_bound,
        CASE WHEN c.flops IS NOT NULL THEN c.is_tokens_upper_bound END AS is_tokens_upper_bound,
        CASE WHEN c.flops IS NOT NULL THEN c.is_hfu_upper_bound END AS is_hfu_upper_bound,
        macros.covering_ns(t.end_ns - t.start_ns, b.gpu_busy_ns, (t.end_ns - t.start_ns) * b.device_count) AS cover_ns
    FROM attribute.training_step_spans AS s
    JOIN attribute._training_step_borders AS t USING (lane, step)
    LEFT JOIN cost AS c USING (lane, step)
    LEFT JOIN busy AS b USING (lane, step)
    CROSS JOIN degree AS d
)
SELECT
    s.lane, s.process_key, s.step, s.is_complete, s.is_warmup, s.is_cold, s.is_measured, s.micro_batches, s.tokens,
    s.start_ns, s.end_ns, s.wall_ns,
    greatest(s.first_pass_ns - s.start_ns, 0) AS input_wait_ns, s.device_count, s.gpu_busy_ns, s.flops, s.recomputed_flops,
    s.recomputed_min_flops, s.compute_ns, s.recomputed_ns, s.recomputed_min_ns, s.padding_ns,
    macros.utilization(s.compute_ns, s.cover_ns) AS mfu_wall,
    macros.utilization(s.compute_ns * s.device_count, s.gpu_busy_ns) AS mfu_busy,
    macros.utilization(s.compute_ns + s.recomputed_ns + s.padding_ns, s.cover_ns) AS hfu_wall,
    macros.utilization((s.compute_ns + s.recomputed_ns + s.padding_ns) * s.device_count, s.gpu_busy_ns) AS hfu_busy,
    macros.utilization(s.compute_ns + s.recomputed_min_ns + s.padding_ns, s.cover_ns) AS hfu_wall_min,
    macros.utilization((s.compute_ns + s.recomputed_min_ns + s.padding_ns) * s.device_count, s.gpu_busy_ns) AS hfu_busy_min,
    s.is_lower_bound, s.is_upper_bound, s.is_tokens_upper_bound, s.is_hfu_upper_bound
FROM step AS s
