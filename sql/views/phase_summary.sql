-- One row per phase: what ran, how long it took by three clocks, and how far that is from the hardware's limits.
-- Counts and sums cover every occurrence, warm-up and cold ones included; tokens, flops, bytes, MFU, MBU, SOL and medians
-- leave both out.
-- Grain: phase.
-- materialize: table
-- requires: attribute.phase_walls, attribute.phase_devices, attribute.phase_busy, attribute.work_by_occurrence, attribute.busy_by_occurrence, attribute.occurrences, attribute._occurrence_sizes, attribute.api_time_by_occurrence, input.occurrence_shapes, input.shapes, estimate.phase_costs, attribute.phase_sources
-- columns:
--   phase                VARCHAR  Name of the phase.
--   occurrences          BIGINT   Ranges, warm-up included.
--   warmup_occurrences   BIGINT   Ranges inside warm-up.
--   cold_occurrences     BIGINT   Ranges that are cold, and left out for that.
--   kernel_count         BIGINT   Kernels.
--   kernel_time_ns       BIGINT   Sum of their durations. Unit: ns.
--   memop_count          BIGINT   Copies and fills.
--   memop_time_ns        BIGINT   Sum of their durations. Unit: ns.
--   graph_launch_count   BIGINT   CUDA graphs recorded as a whole.
--   graph_time_ns        BIGINT   Sum of their durations. Unit: ns.
--   other_thread_count   BIGINT   Operations attributed by the fallback: launched by a thread without the phase.
--   other_thread_time_ns BIGINT   Sum of their durations. Unit: ns.
--   wall_ns              BIGINT   Host time inside its ranges, added up over threads. Unit: ns.
--   elapsed_ns           BIGINT   Time in which at least one of its ranges is open: less than wall_ns where threads have it
--                                 open at once. Unit: ns.
--   gpu_open_ns          BIGINT   For each GPU, time in which one of its ranges is open on a thread that gives the GPU work of
--                                 it, added up over GPUs; warm-up and cold ranges left out. Unit: ns.
--   thread_count         BIGINT   Threads that have its ranges.
--   gpu_span_ns          BIGINT   First start to last end of its GPU work, added up over GPUs. Unit: ns.
--   gpu_busy_ns          BIGINT   GPU busy time, added up over GPUs. Unit: ns.
--   warmup_kernel_count  BIGINT   Kernels of warm-up, part of kernel_count.
--   warmup_graph_count   BIGINT   Whole graphs of warm-up, part of graph_launch_count.
--   warmup_wall_ns       BIGINT   Host time of warm-up, part of wall_ns. Unit: ns.
--   warmup_busy_ns       BIGINT   GPU busy time of warm-up, part of gpu_busy_ns. Unit: ns.
--   cold_kernel_count    BIGINT   Kernels of cold ranges that are left out, part of kernel_count.
--   cold_graph_count     BIGINT   Whole graphs of them, part of graph_launch_count.
--   cold_wall_ns         BIGINT   Host time of them, part of wall_ns. Unit: ns.
--   cold_busy_ns         BIGINT   GPU busy time of them, part of gpu_busy_ns. Unit: ns.
--   median_wall_ns       BIGINT   Median host time of one range, NULL if none is measured. Unit: ns.
--   median_busy_ns       BIGINT   Median GPU busy time of one range, added up over GPUs. Unit: ns.
--   busy_ratio           DOUBLE   GPU busy time without warm-up and cold ranges / gpu_open_ns: the share of the phase's open time in which the
--                                 GPUs work on it. NULL if they work for longer than it is open, or if it has no ranges.
--   launch_latency_ns    DOUBLE   Mean time from the return of a launch to the start of its kernel. Unit: ns.
--   memcpy_count         BIGINT   Copies, part of memop_count.
--   memcpy_time_ns       BIGINT   Sum of their durations. Unit: ns.
--   idle_gap_count       BIGINT   Gaps inside the GPU span of single occurrences in which none of their work runs.
--   idle_gap_ns          BIGINT   Sum of their lengths. Unit: ns.
--   longest_idle_gap_ns  BIGINT   Length of the longest, NULL without GPU work. Unit: ns.
--   api_time_ns          BIGINT   Time that the phase's own threads spend in CUDA calls, NULL where they make none. Unit: ns.
--   launch_call_count    BIGINT   Host calls that launched its GPU work: a CUDA graph is one.
--   launches_per_token   DOUBLE   Such calls per token, over occurrences outside warm-up whose tokens are known.
--   measured_occurrences BIGINT   Occurrences that the rest of the row is about, and nothing else: outside warm-up, of known
--                                 shape, with no other phase inside.
--   sharing_ranks        BIGINT   Ranks of the trace that share a pass, each with an occurrence of it; 1 if each has passes of its own.
--   tokens               BIGINT   Tokens that went through the model, once for all ranks that share a pass; NULL where nobody says
--                                 how many do. Unit: tokens.
--   flops                HUGEINT  Model FLOPs. Unit: FLOP.
--   executed_flops       HUGEINT  FLOPs that an eager implementation runs: full attention mask. A backward has the model's, what
--                                 runs again and padding. Unit: FLOP.
--   bytes                HUGEINT  Minimum bytes. Unit: bytes.
--   peak_flops_per_s     DOUBLE   flops / time at peak: of one GPU, weighted by dtype. Unit: FLOP/s.
--   mfu_wall             DOUBLE   Model FLOPs utilization of host wall time (measured_wall_ns); NULL where busy outlasts it.
--   mfu_span             DOUBLE   The same of the GPU span.
--   mfu_busy             DOUBLE   The same of GPU busy time.
--   hfu_busy             DOUBLE   Executed FLOPs utilization of GPU busy time.
--   mbu_wall             DOUBLE   Memory bandwidth utilization of host wall time; NULL where busy outlasts it.
--   mbu_span             DOUBLE   The same of the GPU span.
--   mbu_busy             DOUBLE   The same of GPU busy time.
--   compute_ns           DOUBLE   Time at peak FLOP/s. Unit: ns.
--   memory_ns            DOUBLE   Time at peak bandwidth. Unit: ns.
--   sol_ns               DOUBLE   Speed of light: no GPU of this kind can be faster. Unit: ns.
--   sol_ratio            DOUBLE   sol_ns / GPU busy time: 1 is as fast as this hardware can be.
--   flops_per_byte       DOUBLE   Arithmetic intensity: flops / bytes. Unit: FLOP/byte.
--   ridge_flops_per_byte DOUBLE   Intensity above which the GPU is compute-bound. Unit: FLOP/byte.
--   measured_busy_ns     BIGINT   GPU busy time of the measured occurrences. Unit: ns.
--   measured_wall_ns     BIGINT   Host wall time of the measured occurrences, added up over threads. Unit: ns.
--   flops_min            HUGEINT  Fewest FLOPs, where the lengths of some requests are not known; else flops. Unit: FLOP.
--   flops_max            HUGEINT  Most FLOPs, NULL where nothing limits them. Unit: FLOP.
--   product_flops        HUGEINT  Of the FLOPs, those of products with weights, exact wherever the number of tokens is known. NULL
--                                 where it is not, and in training. Unit: FLOP.
--   attention_flops_min  HUGEINT  The rest at least: attention, and recurrences. Unit: FLOP.
--   attention_flops_max  HUGEINT  The rest at most, NULL where nothing limits it. Unit: FLOP.
--   bytes_min            HUGEINT  Fewest bytes. Unit: bytes.
--   bytes_max            HUGEINT  Most bytes. Unit: bytes.
--   mfu_wall_min         DOUBLE   mfu_wall of the fewest FLOPs.
--   mfu_wall_max         DOUBLE   mfu_wall of the most.
--   mfu_busy_min         DOUBLE   mfu_busy of the fewest FLOPs.
--   mfu_busy_max         DOUBLE   mfu_busy of the most.
--   mbu_busy_min         DOUBLE   mbu_busy of the fewest bytes.
--   mbu_busy_max         DOUBLE   mbu_busy of the most.
--   is_lower_bound       BOOLEAN  Whether parts of the model that nobody counts may have run in it: then FLOPs, bytes, MFU, HFU and
--                                 MBU are lower bounds. NULL without FLOPs and bytes.
--   is_upper_bound       BOOLEAN  Whether some of its occurrences may be charged for more than they had to do, as for padding: then FLOPs,
--                                 bytes, MFU and MBU are upper bounds; with is_lower_bound, neither. NULL likewise.
--   is_tokens_upper_bound BOOLEAN Whether tokens are upper bounds: some may be padding. NULL likewise.
--   is_hfu_upper_bound   BOOLEAN  Whether executed_flops and hfu_busy are upper bounds; for padding, which is in them, they are not.
--                                 NULL likewise.
--   source               VARCHAR  What says that it is a phase: 'markers', 'rules', 'options' (--phase) or 'inferred' (from the
--                                 launches, see docs/inference.md).
--   score                DOUBLE   Of an inferred phase: share of the work that agrees, the least. Else NULL.
--   evidence             VARCHAR  Of an inferred phase: what was seen in how many occurrences, and what that tells; the numbers add
--                                 up to occurrences. Else NULL.
WITH work AS (
    SELECT
        phase, sum(kernel_count)::BIGINT AS kernel_count, sum(kernel_time_ns)::BIGINT AS kernel_time_ns,
        sum(memop_count)::BIGINT AS memop_count, sum(memop_time_ns)::BIGINT AS memop_time_ns,
        sum(graph_launch_count)::BIGINT AS graph_launch_count, sum(graph_time_ns)::BIGINT AS graph_time_ns
    FROM attribute.phase_devices
    GROUP BY phase
),
busy AS (
    SELECT phase, sum(gpu_span_ns)::BIGINT AS gpu_span_ns, sum(gpu_busy_ns)::BIGINT AS gpu_busy_ns
    FROM attribute.phase_busy
    GROUP BY phase
),
left_out AS (
    SELECT
        p.phase,
        coalesce(sum(w.kernel_count) FILTER (WHERE p.is_warmup), 0)::BIGINT AS warmup_kernels,
        coalesce(sum(w.graph_launch_count) FILTER (WHERE p.is_warmup), 0)::BIGINT AS warmup_graphs,
        coalesce(sum(b.gpu_busy_ns) FILTER (WHERE p.is_warmup), 0)::BIGINT AS warmup_busy_ns,
        coalesce(sum(w.kernel_count) FILTER (WHERE p.is_left_cold), 0)::BIGINT AS cold_kernels,
        coalesce(sum(w.graph_launch_count) FILTER (WHERE p.is_left_cold), 0)::BIGINT AS cold_graphs,
        coalesce(sum(b.gpu_busy_ns) FILTER (WHERE p.is_left_cold), 0)::BIGINT AS cold_busy_ns,
        sum(b.gpu_busy_ns)::BIGINT AS busy_ns
    FROM attribute.work_by_occurrence AS w
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN attribute.busy_by_occurrence AS b
        ON b.occurrence_id = w.occurrence_id AND b.device_id = coalesce(w.device_id, 0)
    WHERE NOT p.is_measured
    GROUP BY p.phase
),
middle AS (
    SELECT
        p.phase, median(p.wall_ns)::BIGINT AS median_wall_ns, median(z.busy_ns)::BIGINT AS median_busy_ns
    FROM attribute.occurrences AS p JOIN attribute._occurrence_sizes AS z USING (occurrence_id)
    WHERE p.is_measured
    GROUP BY p.phase
),
launch AS (
    SELECT
        p.phase, sum(w.launch_latency_ns) / nullif(sum(w.launch_count), 0) AS launch_latency_ns,
        sum(w.memcpy_count)::BIGINT AS memcpy_count, sum(w.memcpy_time_ns)::BIGINT AS memcpy_time_ns,
        sum(w.launch_call_count)::BIGINT AS launch_call_count,
        sum(w.other_thread_count)::BIGINT AS other_thread_count,
        sum(w.other_thread_time_ns)::BIGINT AS other_thread_time_ns
    FROM attribute.work_by_occurrence AS w JOIN attribute.occurrences AS p USING (occurrence_id)
    GROUP BY p.phase
),
idle AS (
    SELECT
        p.phase, sum(b.idle_gap_count)::BIGINT AS idle_gap_count, sum(b.idle_gap_ns)::BIGINT AS idle_gap_ns,
        max(b.longest_idle_gap_ns) AS longest_idle_gap_ns
    FROM attribute.busy_by_occurrence AS b JOIN attribute.occurrences AS p USING (occurrence_id)
    GROUP BY p.phase
),
api AS (
    SELECT p.phase, sum(a.api_time_ns)::BIGINT AS api_time_ns
    FROM attribute.api_time_by_occurrence AS a JOIN attribute.occurrences AS p USING (occurrence_id)
    GROUP BY p.phase
),
occurrence_launches AS (
    SELECT occurrence_id, sum(launch_call_count) AS launch_call_count
    FROM attribute.work_by_occurrence
    GROUP BY occurrence_id
),
per_token AS (
    SELECT
        p.phase,
        sum(coalesce(l.launch_call_count, 0)) / nullif(sum(coalesce(s.new_tokens, p.new_tokens)), 0) AS launches_per_token
    FROM attribute.occurrences AS p
    LEFT JOIN occurrence_launches AS l USING (occurrence_id)
    LEFT JOIN input.occurrence_shapes AS o USING (occurrence_id)
    LEFT JOIN input.shapes AS s USING (shape_id)
    WHERE p.is_measured AND coalesce(s.new_tokens, p.new_tokens) IS NOT NULL
    GROUP BY p.phase
)
SELECT
    w.phase, w.occurrences, w.warmup_occurrences, w.cold_occurrences,
    coalesce(work.kernel_count, 0) AS kernel_count, coalesce(work.kernel_time_ns, 0) AS kernel_time_ns,
    coalesce(work.memop_count, 0) AS memop_count, coalesce(work.memop_time_ns, 0) AS memop_time_ns,
    coalesce(work.graph_launch_count, 0) AS graph_launch_count, coalesce(work.graph_time_ns, 0) AS graph_time_ns,
    coalesce(launch.other_thread_count, 0) AS other_thread_count,
    coalesce(launch.other_thread_time_ns, 0) AS other_thread_time_ns,
    w.wall_ns, w.elapsed_ns, w.gpu_open_ns, w.thread_count, busy.gpu_span_ns, coalesce(busy.gpu_busy_ns, 0) AS gpu_busy_ns,
    coalesce(left_out.warmup_kernels, 0) AS warmup_kernel_count, coalesce(left_out.warmup_graphs, 0) AS warmup_graph_count,
    w.warmup_wall_ns, coalesce(left_out.warmup_busy_ns, 0) AS warmup_busy_ns,
    coalesce(left_out.cold_kernels, 0) AS cold_kernel_count, coalesce(left_out.cold_graphs, 0) AS cold_graph_count,
    w.cold_wall_ns, coalesce(left_out.cold_busy_ns, 0) AS cold_busy_ns, middle.median_wall_ns, middle.median_busy_ns,
    CASE
        WHEN w.wall_ns <= w.warmup_wall_ns + w.cold_wall_ns THEN NULL
        WHEN coalesce(busy.gpu_busy_ns, 0) <= coalesce(left_out.busy_ns, 0) THEN 0.0
        WHEN busy.gpu_busy_ns - coalesce(left_out.busy_ns, 0) <= w.gpu_open_ns
            THEN (busy.gpu_busy_ns - coalesce(left_out.busy_ns, 0)) / w.gpu_open_ns
    END AS busy_ratio,
    launch.launch_latency_ns,
    coalesce(launch.memcpy_count, 0) AS memcpy_count, coalesce(launch.memcpy_time_ns, 0) AS memcpy_time_ns,
    coalesce(idle.idle_gap_count, 0) AS idle_gap_count, coalesce(idle.idle_gap_ns, 0) AS idle_gap_ns,
    idle.longest_idle_gap_ns, api.api_time_ns, coalesce(launch.launch_call_count, 0) AS launch_call_count,
    per_token.launches_per_token,
    c.measured_occurrences, c.sharing_ranks, c.tokens, c.flops, c.executed_flops, c.bytes, c.flops / nullif(c.compute_ns, 0) * 1e9 AS peak_flops_per_s,
    c.mfu_wall, c.mfu_span, c.mfu_busy, c.hfu_busy, c.mbu_wall, c.mbu_span, c.mbu_busy, c.compute_ns, c.memory_ns, c.sol_ns, c.sol_ratio,
    c.flops_per_byte, c.ridge_flops_per_byte,
    c.gpu_busy_ns AS measured_busy_ns, c.wall_ns AS measured_wall_ns,
    c.flops_min, c.flops_max, c.product_flops, c.attention_flops_min, c.attention_flops_max, c.bytes_min, c.bytes_max,
    c.mfu_wall_min, c.mfu_wall_max, c.mfu_busy_min, c.mfu_busy_max, c.mbu_busy_min, c.mbu_busy_max,
    c.is_lower_bound, c.is_upper_bound, c.is_tokens_upper_bound, c.is_hfu_upper_bound,
    told.source, told.score,
    told.evidence || CASE WHEN w.warmup_occurrences > 0 THEN format('; left out as warm-up: {:,}', w.warmup_occurrences) ELSE '' END
    || CASE WHEN w.cold_occurrences > 0 THEN format('; left out as cold: {:,}', w.cold_occurrences) ELSE '' END AS evidence
FROM attribute.phase_walls AS w
LEFT JOIN work USING (phase)
LEFT JOIN busy USING (phase)
LEFT JOIN launch USING (phase)
LEFT JOIN idle USING (phase)
LEFT JOIN api USING (phase)
LEFT JOIN per_token USING (phase)
LEFT JOIN left_out USING (phase)
LEFT JOIN middle USING (phase)
LEFT JOIN attribute.phase_sources AS told USING (phase)
LEFT JOIN estimate.phase_costs AS c USING (phase)
