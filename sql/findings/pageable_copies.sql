-- Copies between the GPU and pageable memory of the host, which go through a pinned buffer while the host waits.
-- A twentieth of the phase's time.
-- Grain: phase.
-- severity: info
-- message: in {place} {copy_count:,} copies of {mib:,} MiB in all use pageable memory of the host
-- hint: pin it (`pin_memory=True`, `tensor.pin_memory()`) and copy with non_blocking=True; the classes `copy` and `launch` of
--   `time_budget` show the effect
-- empty without: load.memop_details WHERE 'pageable' IN (source_memory, target_memory)
-- requires: attribute.phase_spending, attribute.gpu_work, attribute.occurrences, load.memop_details
-- columns:
--   phase       VARCHAR The phase, NULL in a trace without phases.
--   at_stake_ns BIGINT  Time from the entry of their calls to their end, at most that of the classes. Unit: ns.
--   budget_part VARCHAR 'copy+launch+sync'.
--   place       VARCHAR The phase in a sentence.
--   copy_count  BIGINT  Such copies.
--   mib         BIGINT  What they copy, rounded up. Unit: MiB.
WITH copy AS (
    SELECT
        p.phase, count(*) AS copy_count, ceil(sum(w.bytes) / 1048576)::BIGINT AS mib,
        sum(greatest(w.end_ns, w.launch_end_ns) - least(w.start_ns, w.launch_start_ns))::BIGINT AS time_ns
    FROM attribute.gpu_work AS w
    JOIN load.memop_details AS d USING (op_id)
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    WHERE w.kind = 'memcpy' AND 'pageable' IN (d.source_memory, d.target_memory) AND coalesce(p.is_measured, true)
        AND (p.phase IS NOT NULL OR (SELECT count(*) FROM attribute.occurrences) = 0)
    GROUP BY p.phase
)
SELECT
    s.phase, least(c.time_ns, s.copy_ns + s.launch_ns + s.sync_ns) AS at_stake_ns, 'copy+launch+sync' AS budget_part, s.place,
    c.copy_count, c.mib
FROM attribute.phase_spending AS s JOIN copy AS c ON c.phase IS NOT DISTINCT FROM s.phase
WHERE least(c.time_ns, s.copy_ns + s.launch_ns + s.sync_ns) >= greatest(s.least_ns, s.phase_ns / 20)
