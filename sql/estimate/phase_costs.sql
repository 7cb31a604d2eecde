-- FLOPs, bytes, MFU, MBU and speed of light of each phase, over the occurrences that count: not warm-up, shape known.
-- MFU and MBU divide the time that the work would take at the GPU's peak by the time it took: host wall, GPU busy.
-- Where the GPU was busy with the phase for longer than its ranges were open, its host time says nothing about it, and
-- MFU and MBU of wall time are NULL. Where one of them would be above 1, which is impossible, all are NULL.
-- Grain: phase; a phase without any such occurrence is absent.
-- materialize: table
-- empty without: estimate.occurrence_costs
-- requires: estimate.occurrence_costs, estimate.occurrence_bounds, estimate.doubtful_passes, attribute.phase_devices, input.model, attribute.gpu_work, attribute._phase_device_spans, attribute.occurrences, input.shapes, macros.busy_ns, macros.covering_ns, macros.utilization, macros.whole_sum
-- columns:
--   phase                VARCHAR  Name of the phase.
--   measured_occurrences BIGINT   Occurrences in these numbers.
--   sharing_ranks        BIGINT   Ranks of the trace that share a pass, each with an occurrence of it; 1 if each has passes of its own.
--   tokens               BIGINT   Tokens that went through the model, once for all ranks that share a pass; NULL where nobody says
--                                 how many do. Unit: tokens.
--   flops                HUGEINT  Unit: FLOP.
--   executed_flops       HUGEINT  FLOPs that an eager implementation runs. Unit: FLOP.
--   bytes                HUGEINT  Minimum bytes. Unit: bytes.
--   compute_ns           DOUBLE   Time at peak FLOP/s. Unit: ns.
--   memory_ns            DOUBLE   Time at peak bandwidth. Unit: ns.
--   sol_ns               DOUBLE   Speed of light. Unit: ns.
--   wall_ns              BIGINT   Host wall time of these occurrences, added up over threads. Unit: ns.
--   gpu_span_ns          BIGINT   GPU span, added up over occurrences. Unit: ns.
--   gpu_busy_ns          BIGINT   GPU busy time per GPU, added up over GPUs. Unit: ns.
--   mfu_wall             DOUBLE   Model FLOPs utilization of host wall time.
--   mfu_span             DOUBLE   The same of the GPU span.
--   mfu_busy             DOUBLE   The same of GPU busy time.
--   hfu_busy             DOUBLE   Executed FLOPs utilization of GPU busy time.
--   mbu_wall             DOUBLE   Memory bandwidth utilization of host wall time.
--   mbu_span             DOUBLE   The same of the GPU span.
--   mbu_busy             DOUBLE   The same of GPU busy time.
--   sol_ratio            DOUBLE   Speed of light / GPU busy time: 1 is as fast as this hardware can be.
--   flops_per_byte       DOUBLE   Arithmetic intensity: FLOPs / minimum bytes. Unit: FLOP/byte.
--   ridge_flops_per_byte DOUBLE   Intensity at which peak FLOP/s and peak bandwidth take equal time. Unit: FLOP/byte.
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
--   is_lower_bound       BOOLEAN  Whether FLOPs and bytes of one of these occurrences are lower bounds: see estimate.occurrence_bounds. This
--                                 and what follows is NULL without FLOPs and bytes.
--   is_upper_bound       BOOLEAN  Whether they are upper bounds.
--   is_tokens_upper_bound BOOLEAN Whether tokens are.
--   is_hfu_upper_bound   BOOLEAN  Whether executed_flops and hfu_busy are.
--   highest_ratio        DOUBLE   The highest of MFU and MBU as they come out: above 1, none of them is shown.
WITH measured_wall AS (
    SELECT json_array(p.phase, p.global_tid)::VARCHAR AS group_id, p.start_ns, p.end_ns
    FROM attribute.occurrences AS p SEMI JOIN estimate.occurrence_costs AS c USING (occurrence_id)
    WHERE p.is_measured
),
-- Where occurrences of the phase interleave on a GPU.
measured_work AS (
    SELECT json_array(p.phase, w.device_id)::VARCHAR AS group_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.occurrences AS p USING (occurrence_id)
    SEMI JOIN estimate.occurrence_costs AS c USING (occurrence_id)
    SEMI JOIN (SELECT phase, device_id FROM attribute._phase_device_spans WHERE is_interleaved OR is_shared) AS s
        ON s.phase = p.phase AND s.device_id = w.device_id
    WHERE p.is_measured
),
united AS (
    SELECT json_extract_string(group_id, '$[0]') AS phase, sum(busy_ns) AS busy_ns
    FROM macros.busy_ns('measured_work')
    GROUP BY ALL
),
wall AS (
    SELECT json_extract_string(group_id, '$[0]') AS phase, sum(busy_ns)::BIGINT AS wall_ns
    FROM macros.busy_ns('measured_wall')
    GROUP BY ALL
),
-- A process with passes and without GPU work is a rank, too: it ran on the CPU, or its work was not recorded.
rank AS (
    SELECT phase, process_key FROM attribute.phase_devices
    UNION ALL
    SELECT DISTINCT phase, process_key FROM attribute.occurrences ANTI JOIN attribute.phase_devices USING (phase, process_key)
),
-- Ranks that share a pass are those that the degrees say, if all of them are in the trace.
shared AS (
    SELECT r.phase, greatest(1, least(count(*), (SELECT coalesce(max(ranks), 1) FROM input.model))) AS ranks, count(u.phase) > 0 AS is_doubtful
    FROM rank AS r
    LEFT JOIN (SELECT phase FROM estimate.doubtful_passes WHERE shared = 'pass') AS u USING (phase)
    GROUP BY r.phase
),
pass AS (
    SELECT
        c.occurrence_id, p.phase, coalesce(s.new_tokens, p.new_tokens) AS new_tokens, coalesce(h.is_doubtful, false) AS is_doubtful,
        -- One range around the work of all of them has the whole pass.
        coalesce(h.ranks, 1) // greatest(1, least(c.device_count, coalesce(h.ranks, 1))) AS ranges
    FROM estimate.occurrence_costs AS c
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN input.shapes AS s USING (shape_id)
    LEFT JOIN shared AS h ON h.phase = p.phase
    WHERE p.is_measured
),
spoken AS (
    SELECT
        phase, max(ranges) AS sharing_ranks,
        -- One unknown makes the sum unknown, not smaller.
        CASE WHEN count(new_tokens) = count(*) AND NOT bool_or(is_doubtful) THEN round(sum(new_tokens / ranges))::BIGINT END AS tokens
    FROM pass
    GROUP BY phase
),
total AS (
    SELECT
        p.phase, count(*) AS measured_occurrences,
        bool_or(b.is_lower_bound) AS is_lower_bound, bool_or(b.is_upper_bound) AS is_upper_bound,
        bool_or(b.is_tokens_upper_bound) AS is_tokens_upper_bound, bool_or(b.is_hfu_upper_bound) AS is_hfu_upper_bound,
        macros.whole_sum(c.flops::HUGEINT) AS flops,
        macros.whole_sum(c.executed_flops::HUGEINT) AS executed_flops,
        macros.whole_sum(c.bytes::HUGEINT) AS bytes,
        macros.whole_sum(c.compute_ns) AS compute_ns,
        macros.whole_sum(c.memory_ns) AS memory_ns,
        macros.whole_sum(c.sol_ns) AS sol_ns,
        macros.whole_sum(c.compute_ns * c.device_count) AS compute_device_ns,
        macros.whole_sum(c.memory_ns * c.device_count) AS memory_device_ns,
        macros.whole_sum(c.executed_ns * c.device_count) AS executed_device_ns,
        macros.whole_sum(c.sol_ns * c.device_count) AS sol_device_ns,
        macros.whole_sum(c.flops_min::HUGEINT) AS flops_min,
        macros.whole_sum(c.flops_max::HUGEINT) AS flops_max,
        macros.whole_sum(c.product_flops::HUGEINT) AS product_flops,
        macros.whole_sum(c.bytes_min::HUGEINT) AS bytes_min,
        macros.whole_sum(c.bytes_max::HUGEINT) AS bytes_max,
        macros.whole_sum(c.compute_min_ns) AS compute_min_ns,
        macros.whole_sum(c.compute_max_ns) AS compute_max_ns,
        macros.whole_sum(c.compute_min_ns * c.device_count) AS compute_min_device_ns,
        macros.whole_sum(c.compute_max_ns * c.device_count) AS compute_max_device_ns,
        macros.whole_sum(c.memory_min_ns * c.device_count) AS memory_min_device_ns,
        macros.whole_sum(c.memory_max_ns * c.device_count) AS memory_max_device_ns,
        -- Ranges of one thread that overlap, as those of start and end may, count once.
        any_value(wall.wall_ns) AS wall_ns,
        -- NULL where the work cannot have happened inside the ranges.
        macros.covering_ns(any_value(wall.wall_ns), sum(c.device_busy_ns), sum(c.wall_ns * c.device_count)) AS covering_ns,
        sum(c.gpu_span_ns)::BIGINT AS gpu_span_ns,
        coalesce(any_value(united.busy_ns), sum(c.device_busy_ns))::BIGINT AS gpu_busy_ns
    FROM estimate.occurrence_costs AS c
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN estimate.occurrence_bounds AS b USING (occurrence_id)
    JOIN wall ON wall.phase = p.phase
    LEFT JOIN united ON united.phase = p.phase
    WHERE p.is_measured
    GROUP BY p.phase
),
-- Above 1 the work cannot have been done in the time: whatever the reason, no ratio of the phase means anything.
limited AS (
    SELECT
        phase, greatest(
            coalesce(compute_min_device_ns, compute_device_ns) / nullif(gpu_busy_ns, 0), coalesce(memory_min_device_ns, memory_device_ns) / nullif(gpu_busy_ns, 0),
            coalesce(compute_min_ns, compute_ns) / nullif(covering_ns, 0), memory_ns / nullif(covering_ns, 0)
        ) AS highest_ratio
    FROM total
),
possible AS (
    SELECT
        t.*, coalesce(t.flops, t.flops_min, t.bytes, t.bytes_min) IS NOT NULL AS is_counted, k.tokens, k.sharing_ranks, l.highest_ratio,
        CASE WHEN l.highest_ratio > 1 THEN NULL ELSE t.gpu_busy_ns END AS busy_ns,
        CASE WHEN l.highest_ratio > 1 THEN NULL ELSE t.covering_ns END AS cover_ns,
        CASE WHEN l.highest_ratio > 1 THEN NULL ELSE t.gpu_span_ns END AS span_ns
    FROM total AS t JOIN limited AS l USING (phase) JOIN spoken AS k USING (phase)
)
SELECT
    phase, measured_occurrences, sharing_ranks, tokens, flops, executed_flops, bytes, compute_ns, memory_ns, sol_ns, wall_ns, gpu_span_ns, gpu_busy_ns,
    macros.utilization(compute_ns, cover_ns) AS mfu_wall, macros.utilization(compute_ns, span_ns) AS mfu_span,
    macros.utilization(compute_device_ns, busy_ns) AS mfu_busy, macros.utilization(executed_device_ns, busy_ns) AS hfu_busy,
    macros.utilization(memory_ns, cover_ns) AS mbu_wall, macros.utilization(memory_ns, span_ns) AS mbu_span,
    macros.utilization(memory_device_ns, busy_ns) AS mbu_busy, macros.utilization(sol_device_ns, busy_ns) AS sol_ratio,
    flops / nullif(bytes, 0) AS flops_per_byte,
    flops / nullif(bytes, 0) / nullif(compute_ns / nullif(memory_ns, 0), 0) AS ridge_flops_per_byte,
    flops_min, flops_max, product_flops, flops_min - product_flops AS attention_flops_min,
    flops_max - product_flops AS attention_flops_max, bytes_min, bytes_max,
    macros.utilization(compute_min_ns, cover_ns) AS mfu_wall_min, macros.utilization(compute_max_ns, cover_ns) AS mfu_wall_max,
    macros.utilization(compute_min_device_ns, busy_ns) AS mfu_busy_min,
    macros.utilization(compute_max_device_ns, busy_ns) AS mfu_busy_max,
    macros.utilization(memory_min_device_ns, busy_ns) AS mbu_busy_min,
    macros.utilization(memory_max_device_ns, busy_ns) AS mbu_busy_max,
    CASE WHEN is_counted THEN is_lower_bound END AS is_lower_bound, CASE WHEN is_counted THEN is_upper_bound END AS is_upper_bound,
    CASE WHEN is_counted THEN is_tokens_upper_bound END AS is_tokens_upper_bound,
    CASE WHEN is_counted THEN is_hfu_upper_bound END AS is_hfu_upper_bound, highest_ratio
FROM possible
