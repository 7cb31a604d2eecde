-- Communication of each phase that no other rank's kernel is known to be the partner of: how much of it is waiting nobody knows.
-- Grain: phase, which is NULL outside every phase; warm-up and cold occurrences are left out.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NULL
-- requires: attribute.collectives, attribute.communication_overlap, attribute.occurrences
-- columns:
--   phase        VARCHAR Its name, or NULL.
--   kernel_count BIGINT  Kernels.
--   alone_ns     BIGINT  Of their time with no compute beside it, that of kernels of no known communicator. Unit: ns.
--   cut_ns       BIGINT  The same of kernels that a rank of the communicator lacks, for its recording is shorter. Unit: ns.
SELECT
    p.phase, count(*) AS kernel_count, coalesce(sum(o.exposed_ns) FILTER (c.group_id IS NULL), 0)::BIGINT AS alone_ns,
    coalesce(sum(o.exposed_ns) FILTER (c.group_id IS NOT NULL), 0)::BIGINT AS cut_ns
FROM attribute.collectives AS c
JOIN attribute.communication_overlap AS o USING (op_id)
LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
WHERE c.wait_ns IS NULL AND coalesce(p.is_measured, true)
GROUP BY p.phase
