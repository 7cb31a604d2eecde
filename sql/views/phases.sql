-- One row per occurrence of a phase: its shape, its time by three clocks, its GPU work, its utilization.
-- Grain: occurrence_id. Without a model, or without a shape, everything from flops on is NULL.
-- requires: attribute.occurrences, attribute.work_by_occurrence, attribute.busy_by_occurrence, input.occurrence_shapes, input.shapes, estimate.occurrence_costs, estimate.occurrence_bounds, estimate.phase_costs, attribute.api_time_by_occurrence, macros.covering_ns, macros.utilization, macros.first_timed_ns
-- columns:
--   occurrence_id      BIGINT   The range. Joins nvtx_ranges on range_id, gpu_work on occurrence_id.
--   phase              VARCHAR  Name of the phase.
--   occurrence         BIGINT   0, 1, 2, … within the phase, by start.
--   process_id         BIGINT   Operating-system pid.
--   thread_id          BIGINT   Operating-system tid.
--   request_id         BIGINT   The request around it. Joins nvtx_ranges on range_id.
--   is_warmup          BOOLEAN  Whether it is inside warm-up.
--   shape              VARCHAR  batch x new tokens @ cached tokens, NULL where it is not known.
--   batch              BIGINT   Sequences.
--   new_tokens         BIGINT   Tokens through the model, over the batch. Unit: tokens.
--   cached_tokens      BIGINT   Tokens already in the KV cache, over the batch. Unit: tokens.
--   start_ns           BIGINT   When its range was opened. Unit: ns.
--   end_ns             BIGINT   When its range was closed. Unit: ns.
--   wall_ns            BIGINT   end_ns - start_ns; of a range that groups other phases, without their time. Unit: ns.
--   kernel_count       BIGINT   Kernels.
--   kernel_time_ns     BIGINT   Sum of their durations. Unit: ns.
--   memop_count        BIGINT   Copies and fills.
--   memop_time_ns      BIGINT   Sum of their durations. Unit: ns.
--   graph_launch_count BIGINT   CUDA graphs recorded as a whole.
--   graph_time_ns      BIGINT   Sum of their durations. Unit: ns.
--   gpu_start_ns       BIGINT   Start of its first GPU work, NULL without any. Unit: ns.
--   gpu_end_ns         BIGINT   End of its last GPU work. Unit: ns.
--   gpu_span_ns        BIGINT   gpu_end_ns - gpu_start_ns. Unit: ns.
--   gpu_busy_ns        BIGINT   GPU busy time, added up over GPUs. Unit: ns.
--   gpu_idle_ns        BIGINT   GPU span that was not busy, for one GPU. Unit: ns.
--   idle_gap_count     BIGINT   Gaps inside its GPU span, on each GPU, in which none of its work runs.
--   longest_idle_gap_ns BIGINT  Length of the longest, NULL without GPU work. Unit: ns.
--   memcpy_time_ns     BIGINT   Sum of the durations of its copies. Unit: ns.
--   api_time_ns        BIGINT   Time that its thread spends in CUDA calls, NULL where it makes none. Unit: ns.
--   launch_call_count  BIGINT   Host calls that launched its GPU work: a CUDA graph is one.
--   launches_per_token DOUBLE   Such calls per token, NULL where the tokens are not known.
--   is_cold            BOOLEAN  Whether it is several times slower than steady ones, or the same step of another rank is, and not marked as warm-up: left out like warm-up, unless --keep-cold counts it.
--   is_measured        BOOLEAN  Whether it counts: neither warm-up nor left out as cold.
--   launch_latency_ns  DOUBLE   Mean time from the return of a launch to the start of its kernel. Unit: ns.
--   flops              BIGINT   Model FLOPs. Unit: FLOP.
--   bytes              BIGINT   Minimum bytes. Unit: bytes.
--   sol_ns             DOUBLE   Speed of light. Unit: ns.
--   mfu_wall           DOUBLE   Model FLOPs utilization of host wall time; NULL where busy outlasts it.
--   mfu_busy           DOUBLE   The same of GPU busy time.
--   mbu_wall           DOUBLE   Memory bandwidth utilization of host wall time.
--   mbu_busy           DOUBLE   The same of GPU busy time.
--   flops_min          BIGINT   Fewest FLOPs, where the lengths of its requests are not known; else flops. Unit: FLOP.
--   flops_max          BIGINT   Most FLOPs, NULL where nothing limits them. Unit: FLOP.
--   bytes_min          BIGINT   Fewest bytes. Unit: bytes.
--   bytes_max          BIGINT   Most bytes. Unit: bytes.
--   product_flops      BIGINT   Of the FLOPs, those of products with weights, which need no lengths; the rest are attention's, or a
--                               recurrence's. NULL where the tokens are not known, and in training. Unit: FLOP.
--   is_lower_bound     BOOLEAN  Whether parts of the model that nobody counts may have run in it: then FLOPs, bytes, MFU and MBU are
--                               lower bounds. NULL without FLOPs and bytes.
--   is_upper_bound     BOOLEAN  Whether it may be charged for more than it had to do: then they are upper bounds. NULL likewise.
--   is_tokens_upper_bound BOOLEAN Whether new_tokens is an upper bound: some may be padding. NULL likewise.
WITH work AS (
    SELECT
        occurrence_id, count(*) AS device_count,
        sum(kernel_count)::BIGINT AS kernel_count, sum(kernel_time_ns)::BIGINT AS kernel_time_ns,
        sum(memcpy_count + memset_count)::BIGINT AS memop_count,
        sum(memcpy_time_ns + memset_time_ns)::BIGINT AS memop_time_ns,
        sum(graph_launch_count)::BIGINT AS graph_launch_count, sum(graph_time_ns)::BIGINT AS graph_time_ns,
        sum(memcpy_time_ns)::BIGINT AS memcpy_time_ns, sum(launch_call_count)::BIGINT AS launch_call_count,
        -- The GPU on which no work has times, from 0 to 0, is not where the others are.
        macros.first_timed_ns(first_start_ns, last_end_ns) AS gpu_start_ns, max(last_end_ns) AS gpu_end_ns,
        sum(launch_latency_ns) / nullif(sum(launch_count), 0) AS launch_latency_ns
    FROM attribute.work_by_occurrence
    WHERE occurrence_id IS NOT NULL
    GROUP BY occurrence_id
),
busy AS (
    SELECT
        occurrence_id, sum(gpu_busy_ns)::BIGINT AS gpu_busy_ns, sum(idle_gap_count)::BIGINT AS idle_gap_count,
        max(longest_idle_gap_ns) AS longest_idle_gap_ns
    FROM attribute.busy_by_occurrence
    GROUP BY occurrence_id
),
-- Where a phase has no possible ratio, its occurrences have none.
cost AS (
    SELECT
        c.*, coalesce(c.flops, c.flops_min, c.bytes, c.bytes_min) IS NOT NULL AS is_counted, CASE WHEN t.highest_ratio > 1 THEN NULL ELSE c.device_busy_ns END AS busy_ns,
        CASE
            WHEN t.highest_ratio > 1 THEN NULL
            ELSE macros.covering_ns(c.wall_ns, c.device_busy_ns, c.wall_ns * c.device_count)
        END AS cover_ns
    FROM estimate.occurrence_costs AS c
    JOIN attribute.occurrences AS p USING (occurrence_id)
    LEFT JOIN estimate.phase_costs AS t ON t.phase = p.phase
)
SELECT
    p.occurrence_id, p.phase, p.occurrence,
    p.process_key & 16777215 AS process_id, p.global_tid & 16777215 AS thread_id, p.request_id, p.is_warmup,
    s.label AS shape, s.batch, coalesce(s.new_tokens, p.new_tokens) AS new_tokens, s.cached_tokens,
    p.start_ns, p.end_ns, p.wall_ns,
    coalesce(w.kernel_count, 0) AS kernel_count, coalesce(w.kernel_time_ns, 0) AS kernel_time_ns,
    coalesce(w.memop_count, 0) AS memop_count, coalesce(w.memop_time_ns, 0) AS memop_time_ns,
    coalesce(w.graph_launch_count, 0) AS graph_launch_count, coalesce(w.graph_time_ns, 0) AS graph_time_ns,
    w.gpu_start_ns, w.gpu_end_ns, w.gpu_end_ns - w.gpu_start_ns AS gpu_span_ns, coalesce(b.gpu_busy_ns, 0) AS gpu_busy_ns,
    CASE WHEN w.device_count = 1 THEN w.gpu_end_ns - w.gpu_start_ns - b.gpu_busy_ns END AS gpu_idle_ns,
    coalesce(b.idle_gap_count, 0) AS idle_gap_count, b.longest_idle_gap_ns,
    coalesce(w.memcpy_time_ns, 0) AS memcpy_time_ns, api.api_time_ns,
    coalesce(w.launch_call_count, 0) AS launch_call_count,
    coalesce(w.launch_call_count, 0) / nullif(coalesce(s.new_tokens, p.new_tokens), 0) AS launches_per_token,
    p.is_cold, p.is_measured,
    w.launch_latency_ns,
    c.flops, c.bytes, c.sol_ns,
    macros.utilization(c.compute_ns, c.cover_ns) AS mfu_wall,
    macros.utilization(c.compute_ns * c.device_count, c.busy_ns) AS mfu_busy,
    macros.utilization(c.memory_ns, c.cover_ns) AS mbu_wall,
    macros.utilization(c.memory_ns * c.device_count, c.busy_ns) AS mbu_busy,
    c.flops_min, c.flops_max, c.bytes_min, c.bytes_max, c.product_flops,
    CASE WHEN c.is_counted THEN bound.is_lower_bound END AS is_lower_bound,
    CASE WHEN c.is_counted THEN bound.is_upper_bound END AS is_upper_bound,
    CASE WHEN c.is_counted THEN bound.is_tokens_upper_bound END AS is_tokens_upper_bound
FROM attribute.occurrences AS p
LEFT JOIN work AS w USING (occurrence_id)
LEFT JOIN busy AS b USING (occurrence_id)
LEFT JOIN input.occurrence_shapes AS o USING (occurrence_id)
LEFT JOIN input.shapes AS s USING (shape_id)
LEFT JOIN cost AS c USING (occurrence_id)
LEFT JOIN estimate.occurrence_bounds AS bound USING (occurrence_id)
LEFT JOIN attribute.api_time_by_occurrence AS api USING (occurrence_id)
