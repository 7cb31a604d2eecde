-- Work that causes are about, by phase: how long it runs, and how long nothing else runs on its GPU meanwhile, which is the most
-- that a cure can save.
-- What takes less than a hundredth of all measured time, and kernels of less than a tenth of the kernel time, are left out.
-- Grain: what, phase; phase is NULL outside every phase.
-- materialize: table
-- empty without: attribute._suspect_names; load.memop_details WHERE direction IS NOT NULL
-- requires: attribute._suspect_names, attribute._overlapping_ops, attribute.gpu_work, attribute.occurrences, attribute._unmeasured_ops, attribute.phase_spending, load.memop_details, macros.hidden_ns
-- columns:
--   what       VARCHAR As in attribute._suspect_names; or 'pinned copy': copies that use no pageable memory and are not between GPUs; or 'peer
--                      copy': copies between GPUs.
--   phase      VARCHAR Name of the phase, or NULL.
--   name       VARCHAR The kernel that takes most of the time; NULL of copies.
--   count      BIGINT  Operations outside warm-up and cold occurrences; outside every phase, those that start in measured time.
--   time_ns    BIGINT  Sum of their durations. Unit: ns.
--   exposed_ns BIGINT  Time in which one of them runs and nothing else does. Unit: ns.
WITH copy AS (
    SELECT
        CASE WHEN d.direction = 'Peer-to-Peer' THEN 'peer copy' ELSE 'pinned copy' END AS what, p.phase, w.op_id, w.end_ns - w.start_ns AS time_ns
    FROM attribute.gpu_work AS w
    JOIN load.memop_details AS d USING (op_id)
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = w.op_id
    WHERE w.kind = 'memcpy' AND coalesce(p.is_measured, true) AND d.direction IS NOT NULL
        AND (d.direction = 'Peer-to-Peer' OR (coalesce(d.source_memory, '') <> 'pageable' AND coalesce(d.target_memory, '') <> 'pageable'))
),
summed AS (
    SELECT what, phase, arg_max(name, (time_ns, full_name_id)) AS name, sum("count")::BIGINT AS "count", sum(time_ns)::BIGINT AS time_ns
    FROM attribute._suspect_names
    GROUP BY what, phase
    UNION ALL
    SELECT what, phase, NULL AS name, count(*) AS "count", sum(time_ns)::BIGINT FROM copy GROUP BY what, phase
),
worth AS (
    SELECT t.*
    FROM summed AS t JOIN attribute.phase_spending AS s ON s.phase IS NOT DISTINCT FROM t.phase
    WHERE t.time_ns >= s.least_ns AND (t.name IS NULL OR 10 * t.time_ns >= s.compute_ns)
),
member AS (
    SELECT {'what': n.what, 'phase': n.phase} AS group_id, o.op_id
    FROM attribute._overlapping_ops AS o
    JOIN attribute.gpu_work AS w USING (op_id)
    LEFT JOIN attribute.occurrences AS p ON p.occurrence_id = w.occurrence_id
    JOIN attribute._suspect_names AS n
        ON n.name_id = w.name_id AND n.full_name_id IS NOT DISTINCT FROM w.full_name_id AND n.phase IS NOT DISTINCT FROM p.phase
    SEMI JOIN worth AS t ON t.what = n.what AND t.phase IS NOT DISTINCT FROM n.phase
    ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = w.op_id
    WHERE w.kind = 'kernel' AND coalesce(p.is_measured, true)
    UNION ALL
    SELECT {'what': c.what, 'phase': c.phase}, c.op_id
    FROM copy AS c SEMI JOIN worth AS t ON t.what = c.what AND t.phase IS NOT DISTINCT FROM c.phase
),
hidden AS (
    SELECT group_id.what AS what, group_id.phase AS phase, hidden_ns FROM macros.hidden_ns('member', 'attribute._overlapping_ops')
)
SELECT s.what, s.phase, s.name, s."count", s.time_ns, (s.time_ns - coalesce(h.hidden_ns, 0))::BIGINT AS exposed_ns
FROM worth AS s LEFT JOIN hidden AS h ON h.what = s.what AND h.phase IS NOT DISTINCT FROM s.phase
