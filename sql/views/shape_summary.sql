-- One row per phase and kind of shape: occurrences of one batch and query length, whatever their context.
-- Grain: phase, shape; only occurrences outside warm-up whose shape is known. MFU and MBU are
-- NULL if those of the phase are impossible: see the finding impossible_utilization.
-- empty without: estimate.occurrence_costs
-- requires: estimate.occurrence_bounds, estimate.occurrence_costs, estimate.phase_costs, attribute.occurrences, input.shapes, macros.covering_ns, macros.utilization, macros.whole_sum
-- columns:
--   phase          VARCHAR  Name of the phase.
--   shape          VARCHAR  batch x new tokens of each sequence.
--   occurrences    BIGINT   Occurrences.
--   tokens         BIGINT   Tokens that went through the model, once for all ranks that share a pass; NULL where nobody says how many
--                           do. Unit: tokens.
--   wall_ns        BIGINT   Host wall time. Unit: ns.
--   gpu_busy_ns    BIGINT   GPU busy time, added up over occurrences and GPUs. Unit: ns.
--   flops          HUGEINT  Model FLOPs. Unit: FLOP.
--   bytes          HUGEINT  Minimum bytes. Unit: bytes.
--   mfu_wall       DOUBLE   Model FLOPs utilization of host wall time.
--   mfu_busy       DOUBLE   The same of GPU busy time.
--   mbu_wall       DOUBLE   Memory bandwidth utilization of host wall time.
--   mbu_busy       DOUBLE   The same of GPU busy time.
--   flops_min      HUGEINT  Fewest FLOPs, where the lengths of some requests are not known; else flops. Unit: FLOP.
--   flops_max      HUGEINT  Most FLOPs, NULL where nothing limits them. Unit: FLOP.
--   product_flops  HUGEINT  Of the FLOPs, those of products with weights, which need no lengths. NULL where the tokens
--                           are not known, and in training. Unit: FLOP.
--   bytes_min      HUGEINT  Fewest bytes. Unit: bytes.
--   bytes_max      HUGEINT  Most bytes. Unit: bytes.
--   mfu_busy_min   DOUBLE   mfu_busy of the fewest FLOPs.
--   mfu_busy_max   DOUBLE   mfu_busy of the most.
--   mbu_busy_min   DOUBLE   mbu_busy of the fewest bytes.
--   mbu_busy_max   DOUBLE   mbu_busy of the most.
--   is_lower_bound BOOLEAN  Whether parts of the model that nobody counts may have run in it: then FLOPs, bytes, MFU and MBU are
--                           lower bounds. NULL without FLOPs and bytes.
--   is_upper_bound BOOLEAN  Whether some of the occurrences may be charged for more than they had to do: then they are upper bounds;
--                           with is_lower_bound, neither. NULL likewise.
--   is_tokens_upper_bound BOOLEAN Whether tokens are upper bounds: some may be padding. NULL likewise.
--   first_start_ns BIGINT   Start of the first one. Unit: ns.
WITH total AS (
    SELECT
        p.phase, s.kind AS shape, count(*) AS occurrences,
        round(sum(coalesce(s.new_tokens, p.new_tokens)) / any_value(t.ranges))::BIGINT AS tokens,
        sum(c.wall_ns)::BIGINT AS wall_ns, coalesce(sum(c.device_busy_ns), 0)::BIGINT AS gpu_busy_ns,
        macros.whole_sum(c.flops::HUGEINT) AS flops, macros.whole_sum(c.bytes::HUGEINT) AS bytes,
        macros.whole_sum(c.flops_min::HUGEINT) AS flops_min, macros.whole_sum(c.flops_max::HUGEINT) AS flops_max,
        macros.whole_sum(c.product_flops::HUGEINT) AS product_flops,
        macros.whole_sum(c.bytes_min::HUGEINT) AS bytes_min, macros.whole_sum(c.bytes_max::HUGEINT) AS bytes_max,
        macros.whole_sum(c.compute_ns) AS compute_ns, macros.whole_sum(c.memory_ns) AS memory_ns,
        macros.whole_sum(c.compute_ns * c.device_count) AS compute_device_ns,
        macros.whole_sum(c.memory_ns * c.device_count) AS memory_device_ns,
        macros.whole_sum(c.compute_min_ns * c.device_count) AS compute_min_device_ns,
        macros.whole_sum(c.compute_max_ns * c.device_count) AS compute_max_device_ns,
        macros.whole_sum(c.memory_min_ns * c.device_count) AS memory_min_device_ns,
        macros.whole_sum(c.memory_max_ns * c.device_count) AS memory_max_device_ns,
        CASE WHEN bool_and(t.is_possible) THEN sum(c.device_busy_ns) END AS busy_ns,
        CASE
            WHEN bool_and(t.is_possible)
                THEN macros.covering_ns(sum(c.wall_ns), sum(c.device_busy_ns), sum(c.wall_ns * c.device_count))
        END AS cover_ns,
        bool_or(b.is_lower_bound) AS is_lower_bound, bool_or(b.is_upper_bound) AS is_upper_bound,
        bool_or(b.is_tokens_upper_bound) AS is_tokens_upper_bound, min(p.start_ns) AS first_start_ns
    FROM estimate.occurrence_costs AS c
    JOIN estimate.occurrence_bounds AS b USING (occurrence_id)
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN input.shapes AS s USING (shape_id)
    JOIN (
        SELECT
            phase, coalesce(highest_ratio <= 1, true) AS is_possible,
            CASE WHEN tokens IS NOT NULL THEN sharing_ranks END AS ranges
        FROM estimate.phase_costs
    ) AS t ON t.phase = p.phase
    WHERE p.is_measured
    GROUP BY p.phase, s.kind
)
SELECT
    phase, shape, occurrences, tokens, wall_ns, gpu_busy_ns, flops, bytes,
    macros.utilization(compute_ns, cover_ns) AS mfu_wall, macros.utilization(compute_device_ns, busy_ns) AS mfu_busy,
    macros.utilization(memory_ns, cover_ns) AS mbu_wall, macros.utilization(memory_device_ns, busy_ns) AS mbu_busy,
    flops_min, flops_max, product_flops, bytes_min, bytes_max,
    macros.utilization(compute_min_device_ns, busy_ns) AS mfu_busy_min,
    macros.utilization(compute_max_device_ns, busy_ns) AS mfu_busy_max,
    macros.utilization(memory_min_device_ns, busy_ns) AS mbu_busy_min,
    macros.utilization(memory_max_device_ns, busy_ns) AS mbu_busy_max,
    CASE WHEN is_counted THEN is_lower_bound END AS is_lower_bound, CASE WHEN is_counted THEN is_upper_bound END AS is_upper_bound,
    CASE WHEN is_counted THEN is_tokens_upper_bound END AS is_tokens_upper_bound, first_start_ns
FROM (SELECT *, coalesce(flops, flops_min, bytes, bytes_min) IS NOT NULL AS is_counted FROM total)
