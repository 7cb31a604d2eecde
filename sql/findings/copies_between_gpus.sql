-- Copies from GPU to GPU, which copy engines run: collectives without kernels (symmetric memory, NCCL's zero-CTA policy), sends of
-- pipelines.
-- What takes less than a hundredth of all measured time in which nothing else runs is left out.
-- Grain: phase.
-- severity: info
-- message: in {place} {copy_count:,} copies between GPUs, of {mib:,} MiB in all, are communication without a kernel: they count as copies,
--   and are in no collective
-- hint: for all exposed communication add the class `copy` of `time_budget` to `transfer` and `wait`; `memops` has the copies
-- empty without: load.memop_details WHERE direction = 'Peer-to-Peer'
-- requires: attribute.phase_spending, attribute.suspects, attribute.gpu_work, attribute.occurrences, attribute._unmeasured_ops, load.memop_details
-- columns:
--   phase       VARCHAR The phase, NULL in a trace without phases.
--   at_stake_ns BIGINT  Time in which one of them runs and nothing else does, at most that of the class. Unit: ns.
--   place       VARCHAR The phase in a sentence.
--   copy_count  BIGINT  Such copies.
--   mib         BIGINT  What they copy, rounded up. Unit: MiB.
WITH copy AS (
    SELECT
        p.phase, count(*) AS copy_count, ceil(sum(w.bytes) / 1048576)::BIGINT AS mib
    FROM attribute.gpu_work AS w
    JOIN load.memop_details AS d USING (op_id)
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = w.op_id
    WHERE w.kind = 'memcpy' AND d.direction = 'Peer-to-Peer' AND coalesce(p.is_measured, true)
        AND (p.phase IS NOT NULL OR (SELECT count(*) FROM attribute.occurrences) = 0)
    GROUP BY p.phase
)
SELECT
    s.phase, least(e.exposed_ns, s.copy_ns) AS at_stake_ns, s.place, c.copy_count, c.mib
FROM attribute.phase_spending AS s
JOIN copy AS c ON c.phase IS NOT DISTINCT FROM s.phase
JOIN attribute.suspects AS e ON e.what = 'peer copy' AND e.phase IS NOT DISTINCT FROM s.phase
WHERE at_stake_ns >= s.least_ns
