-- Kernels that compute on GPUs where communication runs beside compute, each with how much of it does so and what it compares
-- with: kernels of the same name, on the same GPU, in steps of the same phase and shape, between the same kernels of their stream.
-- The neighbours tell apart what has one name: four before and four after it. (An output and a down projection may run one kernel on
-- one grid, and take different times.)
-- Phases around which communication runs alone are left out: there is nothing to compare.
-- Grain: op_id; kernels of warm-up, cold occurrences and unmeasured time are absent, and so are those beside which another one computes for more
-- than a tenth of their time.
-- materialize: table
-- empty without: attribute._communication
-- requires: input.step_sizes, macros.covered, attribute.gpu_work, attribute.kernel_families, attribute.work_by_occurrence, attribute.occurrences, attribute._communication, attribute.communication_overlap, attribute._unmeasured_ops, attribute.training_passes
-- columns:
--   op_id     BIGINT  Joins attribute.gpu_work.
--   phase     VARCHAR Phase, NULL outside every phase.
--   name_id   BIGINT  Short name. Joins load.strings.
--   kind_hash UBIGINT What it compares with: equal for kernels that do the same work.
--   dur_ns    BIGINT  How long it took. Unit: ns.
--   beside_ns BIGINT  Of it beside communication. Unit: ns.
WITH communicating AS (
    SELECT op_id AS span_id, device_id AS group_id, start_ns, end_ns FROM attribute._communication
),
hiding AS (
    SELECT c.device_id, c.occurrence_id, c.start_ns, c.end_ns
    FROM attribute._communication AS c JOIN attribute.communication_overlap AS o USING (op_id)
    WHERE o.overlapped_ns > 0
),
around AS (
    -- Phases around it: its own, and those that work on the GPU as it begins and ends.
    SELECT device_id, occurrence_id FROM hiding
    UNION
    SELECT h.device_id, w.occurrence_id
    FROM (SELECT device_id, unnest([start_ns, end_ns]) AS at_ns FROM hiding) AS h
    ASOF JOIN attribute.work_by_occurrence AS w ON w.device_id = h.device_id AND w.first_start_ns <= h.at_ns
),
beside AS (
    SELECT DISTINCT a.device_id, p.phase FROM around AS a LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    UNION
    -- What is outside every phase has one row of work for all of it.
    SELECT DISTINCT device_id, NULL FROM hiding
),
computing AS (
    SELECT
        w.op_id, w.process_key, w.device_id, w.stream_id, w.occurrence_id, w.name_id, coalesce(w.full_name_id, w.name_id) AS kernel_id,
        w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.kernel_families AS f
        ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id AND f.family <> 'communication'
    SEMI JOIN beside AS b ON b.device_id = w.device_id
    WHERE w.kind = 'kernel'
    ORDER BY w.device_id, w.start_ns, w.op_id
),
-- Sorted once, and streamed: see attribute._device_order.
reach AS (
    SELECT *, max((device_id::HUGEINT << 64) + end_ns) OVER (ROWS UNBOUNDED PRECEDING) AS reached FROM computing
),
kernel AS (
    SELECT
        *, lag(reached) OVER () - (device_id::HUGEINT << 64) - start_ns AS over_ns,
        CASE WHEN lead(device_id) OVER () = device_id THEN end_ns - lead(start_ns) OVER () END AS under_ns
    FROM reach
),
neighbour AS (
    SELECT
        k.*, p.phase, coalesce(p.is_measured, true) AS is_measured,
        hash(
            lag(k.kernel_id) OVER stream, lag(k.kernel_id, 2) OVER stream, lag(k.kernel_id, 3) OVER stream,
            lag(k.kernel_id, 4) OVER stream, lead(k.kernel_id) OVER stream, lead(k.kernel_id, 2) OVER stream,
            lead(k.kernel_id, 3) OVER stream, lead(k.kernel_id, 4) OVER stream
        ) AS neighbours
    FROM kernel AS k
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    SEMI JOIN beside AS b ON b.device_id = k.device_id AND b.phase IS NOT DISTINCT FROM p.phase
    WINDOW stream AS (PARTITION BY k.process_key, k.device_id, k.stream_id ORDER BY k.start_ns, k.op_id)
),
lone AS MATERIALIZED (
    SELECT
        k.op_id AS span_id, k.device_id AS group_id, k.start_ns, k.end_ns, k.phase, k.name_id,
        hash(k.device_id, k.phase, coalesce(z.label, fz.label), k.kernel_id, k.neighbours) AS kind_hash
    FROM neighbour AS k
    LEFT JOIN input.step_sizes AS z ON z.occurrence_id = k.occurrence_id
    -- A backward is of the shape of its forward.
    LEFT JOIN attribute.training_passes AS t ON t.occurrence_id = k.occurrence_id
    LEFT JOIN input.step_sizes AS fz ON fz.occurrence_id = t.forward_id
    ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = k.op_id
    WHERE k.is_measured AND k.end_ns > k.start_ns
        AND 10 * coalesce(k.over_ns, 0) <= k.end_ns - k.start_ns AND 10 * coalesce(k.under_ns, 0) <= k.end_ns - k.start_ns
)
SELECT
    span_id AS op_id, k.phase, k.name_id, k.kind_hash, k.end_ns - k.start_ns AS dur_ns, b.covered_ns AS beside_ns
FROM lone AS k JOIN macros.covered('lone', 'communicating') AS b USING (span_id)
