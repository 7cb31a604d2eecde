-- Communication of each phase that no other rank's kernel is known to be the partner of: how much of it is waiting nobody knows.
-- Grain: phase, which is NULL outside every phase; warm-up and cold occurrences are left out, and what is in no measured time. Two kernels at
-- once count once.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NULL
-- requires: attribute.collectives, attribute._compute_beside, attribute.occurrences, attribute._unmeasured_ops, macros.islands, macros.covered
-- columns:
--   phase        VARCHAR Its name, or NULL.
--   kernel_count BIGINT  Kernels.
--   alone_ns     BIGINT  Of their time with no compute beside it, that of kernels of no known communicator. Unit: ns.
--   cut_ns       BIGINT  The same of kernels that a rank of the communicator lacks, for its recording is shorter. Unit: ns.
WITH lone AS MATERIALIZED (
    SELECT
        {'phase': p.phase, 'device_id': c.device_id, 'is_cut': c.group_id IS NOT NULL} AS group_id, c.start_ns, c.end_ns
    FROM attribute.collectives AS c
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = c.op_id
    WHERE c.wait_ns IS NULL AND coalesce(p.is_measured, true)
),
merged AS MATERIALIZED (
    SELECT
        row_number() OVER (ORDER BY group_id, start_ns) AS span_id, group_id AS kind, group_id.device_id AS group_id, start_ns, end_ns,
        interval_count
    FROM macros.islands('lone')
)
SELECT
    i.kind.phase AS phase, sum(i.interval_count)::BIGINT AS kernel_count,
    coalesce(sum(i.end_ns - i.start_ns - c.covered_ns) FILTER (NOT i.kind.is_cut), 0)::BIGINT AS alone_ns,
    coalesce(sum(i.end_ns - i.start_ns - c.covered_ns) FILTER (i.kind.is_cut), 0)::BIGINT AS cut_ns
FROM merged AS i JOIN macros.covered('merged', 'attribute._compute_beside') AS c USING (span_id)
GROUP BY i.kind.phase
