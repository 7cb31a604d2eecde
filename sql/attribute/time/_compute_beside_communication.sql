-- Kernels that compute on GPUs where communication runs beside compute, each with how much of it does so and what it compares
-- with: kernels of the same name, on the same GPU, in steps of the same phase and shape, between the same kernels of their stream.
-- The neighbours tell apart what has one name: four before and four after it. (An output and a down projection may run one kernel on
-- one grid, and take different times.)
-- Algorithm: communication is merged into islands; its time before an instant is a running sum of their lengths, as in
-- attribute.communication_overlap.
-- Grain: op_id; kernels of warm-up and cold occurrences are absent, and so are those beside which another one computes for more
-- than a tenth of their time.
-- materialize: table
-- empty without: attribute._communication
-- requires: input.step_sizes, macros.islands, attribute.gpu_work, attribute.kernel_families, attribute.occurrences, attribute._communication, attribute.communication_overlap, attribute._communication_spans, attribute.training_passes
-- columns:
--   op_id     BIGINT  Joins attribute.gpu_work.
--   phase     VARCHAR Phase, NULL outside every phase.
--   name_id   BIGINT  Short name. Joins load.strings.
--   kind_hash UBIGINT What it compares with: equal for kernels that do the same work.
--   dur_ns    BIGINT  How long it took. Unit: ns.
--   beside_ns BIGINT  Of it beside communication. Unit: ns.
WITH device AS (
    SELECT DISTINCT c.device_id
    FROM attribute._communication AS c JOIN attribute.communication_overlap AS o USING (op_id)
    WHERE o.overlapped_ns > 0
),
kernel AS (
    SELECT
        w.op_id, w.device_id, w.occurrence_id, w.name_id, coalesce(w.full_name_id, w.name_id) AS kernel_id, w.start_ns, w.end_ns,
        hash(
            lag(coalesce(w.full_name_id, w.name_id)) OVER stream, lag(coalesce(w.full_name_id, w.name_id), 2) OVER stream,
            lag(coalesce(w.full_name_id, w.name_id), 3) OVER stream, lag(coalesce(w.full_name_id, w.name_id), 4) OVER stream,
            lead(coalesce(w.full_name_id, w.name_id)) OVER stream, lead(coalesce(w.full_name_id, w.name_id), 2) OVER stream,
            lead(coalesce(w.full_name_id, w.name_id), 3) OVER stream, lead(coalesce(w.full_name_id, w.name_id), 4) OVER stream
        ) AS neighbours,
        max(w.end_ns) OVER (gpu ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached_ns,
        lead(w.start_ns) OVER gpu AS next_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.kernel_families AS f
        ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id AND f.family <> 'communication'
    SEMI JOIN device AS d ON d.device_id = w.device_id
    WHERE w.kind = 'kernel'
    WINDOW stream AS (PARTITION BY w.process_key, w.device_id, w.stream_id ORDER BY w.start_ns, w.op_id),
        gpu AS (PARTITION BY w.device_id ORDER BY w.start_ns, w.op_id)
),
lone AS (
    SELECT k.*, p.phase, coalesce(z.label, fz.label) AS shape
    FROM kernel AS k
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    LEFT JOIN input.step_sizes AS z ON z.occurrence_id = k.occurrence_id
    -- A backward is of the shape of its forward.
    LEFT JOIN attribute.training_passes AS t ON t.occurrence_id = k.occurrence_id
    LEFT JOIN input.step_sizes AS fz ON fz.occurrence_id = t.forward_id
    WHERE coalesce(p.is_measured, true) AND k.end_ns > k.start_ns
        AND 10 * (coalesce(k.reached_ns, k.start_ns) - k.start_ns) <= k.end_ns - k.start_ns
        AND 10 * (k.end_ns - coalesce(k.next_ns, k.end_ns)) <= k.end_ns - k.start_ns
),
island AS (
    SELECT
        group_id AS device_id, start_ns, end_ns,
        coalesce(sum(end_ns - start_ns) OVER (
            PARTITION BY group_id ORDER BY start_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS passed_ns
    FROM macros.islands('attribute._communication_spans')
),
started AS (
    SELECT k.*, coalesce(i.passed_ns + least(k.start_ns, i.end_ns) - i.start_ns, 0) AS passed_ns
    FROM lone AS k ASOF LEFT JOIN island AS i ON i.device_id = k.device_id AND i.start_ns <= k.start_ns
)
SELECT
    k.op_id, k.phase, k.name_id,
    hash(k.device_id, k.phase, k.shape, k.kernel_id, k.neighbours) AS kind_hash,
    k.end_ns - k.start_ns AS dur_ns,
    (coalesce(i.passed_ns + least(k.end_ns, i.end_ns) - i.start_ns, 0) - k.passed_ns)::BIGINT AS beside_ns
FROM started AS k ASOF LEFT JOIN island AS i ON i.device_id = k.device_id AND i.start_ns <= k.end_ns
