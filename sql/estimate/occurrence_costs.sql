-- What each occurrence of a phase must compute and move, and how long that would take its GPUs at their peaks.
-- Grain: occurrence_id; occurrences whose shape is not known are absent, and so are those with another phase inside: the
-- inner phase has part of the work, so that the rest of it does not belong to the outer one's FLOPs.
-- materialize: table
-- empty without: input.occurrence_shapes
-- requires: macros.shared_ns, input.occurrence_shapes, input.shapes, input.shape_costs, input.shape_device_costs, input.other_runs, attribute.phase_ranges, attribute._inner_phases, attribute.work_by_occurrence, attribute.busy_by_occurrence, estimate.doubtful_passes, estimate.other_models, macros.first_timed_ns
-- columns:
--   occurrence_id  BIGINT   Joins attribute.phase_ranges.
--   shape_id       BIGINT   Joins input.shapes.
--   flops          BIGINT   FLOPs of this occurrence's share, NULL without a model or with another one than ran (other_models),
--                           between bounds, where nobody says how many GPUs share the pass (doubtful_passes), and in
--                           processes of another run (other_runs). Unit: FLOP.
--   executed_flops BIGINT   FLOPs that an eager implementation runs for it, mask ignored. Unit: FLOP.
--   bytes          BIGINT   Minimum bytes: weights + KV read + KV written. Unit: bytes.
--   device_count   BIGINT   GPUs that did work for it.
--   compute_ns     DOUBLE   Σ over dtypes of FLOPs / peak, on all its GPUs together: of unlike GPUs the sum of their peaks
--                           counts. Unit: ns.
--   executed_ns    DOUBLE   The same of the executed FLOPs. Unit: ns.
--   memory_ns      DOUBLE   bytes / bandwidth, on all its GPUs together. Unit: ns.
--   sol_ns         DOUBLE   Speed of light: Σ over ops of the slower of the two. Unit: ns.
--   flops_min      BIGINT   Fewest FLOPs that it may have, where lengths are not known; else flops. Unit: FLOP.
--   flops_max      BIGINT   Most FLOPs, NULL where nothing limits them. Unit: FLOP.
--   bytes_min      BIGINT   Fewest bytes. Unit: bytes.
--   bytes_max      BIGINT   Most bytes. Unit: bytes.
--   product_flops  BIGINT   Of the FLOPs, those of products with weights, which need no lengths; the rest are attention's, or a
--                           recurrence's. NULL where they are not known either, and in training. Unit: FLOP.
--   compute_min_ns DOUBLE   compute_ns of the fewest FLOPs. Unit: ns.
--   compute_max_ns DOUBLE   compute_ns of the most. Unit: ns.
--   memory_min_ns  DOUBLE   memory_ns of the fewest bytes. Unit: ns.
--   memory_max_ns  DOUBLE   memory_ns of the most. Unit: ns.
--   recomputed_flops     BIGINT  FLOPs that a backward runs again, as checkpointing does; NULL where the trace does not
--                                show all of it. Unit: FLOP.
--   recomputed_min_flops BIGINT  The least that they are. Unit: FLOP.
--   padding_flops  BIGINT   FLOPs that a training pass runs for padding; 0 without any, NULL if it is not known. Unit: FLOP.
--   wall_ns        BIGINT   Host wall time. Unit: ns.
--   gpu_span_ns    BIGINT   First start to last end on the GPU. Unit: ns.
--   device_busy_ns BIGINT   GPU busy time, added up over its GPUs. Unit: ns.
WITH device AS (
    SELECT
        w.occurrence_id, count(*) AS device_count, sum(b.gpu_busy_ns)::BIGINT AS device_busy_ns,
        -- A GPU on which no work has times, from 0 to 0, is in no span.
        max(w.last_end_ns) - macros.first_timed_ns(w.first_start_ns, w.last_end_ns) AS gpu_span_ns
    FROM attribute.work_by_occurrence AS w
    JOIN attribute.busy_by_occurrence AS b
        ON b.occurrence_id = w.occurrence_id AND b.device_id = coalesce(w.device_id, 0)
    GROUP BY w.occurrence_id
),
-- The GPUs together are as fast as the sum of what each is, and as unknown as one of them.
together AS (
    SELECT
        w.occurrence_id, macros.shared_ns(list(t.compute_ns), count(*)) AS compute_ns,
        macros.shared_ns(list(t.executed_compute_ns), count(*)) AS executed_ns,
        macros.shared_ns(list(t.memory_ns), count(*)) AS memory_ns, macros.shared_ns(list(t.sol_ns), count(*)) AS sol_ns,
        macros.shared_ns(list(t.compute_min_ns), count(*)) AS compute_min_ns,
        macros.shared_ns(list(t.compute_max_ns), count(*)) AS compute_max_ns,
        macros.shared_ns(list(t.memory_min_ns), count(*)) AS memory_min_ns,
        macros.shared_ns(list(t.memory_max_ns), count(*)) AS memory_max_ns
    FROM attribute.work_by_occurrence AS w
    JOIN input.occurrence_shapes AS o USING (occurrence_id)
    LEFT JOIN input.shape_device_costs AS t ON t.shape_id = o.shape_id AND t.device_id = coalesce(w.device_id, 0)
    GROUP BY w.occurrence_id
)
SELECT
    p.occurrence_id, s.shape_id, c.flops, c.executed_flops, c.bytes, coalesce(d.device_count, 0) AS device_count,
    t.compute_ns, t.executed_ns, t.memory_ns, t.sol_ns, c.flops_min, c.flops_max, c.bytes_min, c.bytes_max, c.product_flops,
    t.compute_min_ns, t.compute_max_ns, t.memory_min_ns, t.memory_max_ns, c.recomputed_flops, c.recomputed_min_flops,
    c.padding_flops,
    p.end_ns - p.start_ns AS wall_ns, d.gpu_span_ns, d.device_busy_ns
FROM attribute.phase_ranges AS p
JOIN input.occurrence_shapes AS o USING (occurrence_id)
JOIN input.shapes AS s USING (shape_id)
LEFT JOIN estimate.doubtful_passes AS doubtful ON doubtful.phase = p.phase
LEFT JOIN input.other_runs AS other ON other.process_key = p.process_key
CROSS JOIN (SELECT count(*) > 0 AS is_other FROM estimate.other_models) AS m
LEFT JOIN input.shape_costs AS c
    ON c.shape_id = s.shape_id AND doubtful.phase IS NULL AND other.process_key IS NULL AND NOT m.is_other
LEFT JOIN device AS d ON d.occurrence_id = p.occurrence_id
LEFT JOIN together AS t
    ON t.occurrence_id = p.occurrence_id AND doubtful.phase IS NULL AND other.process_key IS NULL AND NOT m.is_other
ANTI JOIN attribute._inner_phases AS n ON n.occurrence_id = p.occurrence_id
