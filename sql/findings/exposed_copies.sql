-- Time in which a GPU only copies, to or from pinned memory of the host or within itself: no kernel runs beside it.
-- A tenth of the phase's time. Copies of pageable memory and those between GPUs have findings of their own.
-- Grain: phase.
-- severity: info
-- message: in {place} the GPU does nothing but copy for up to {share:%} of the time: {copy_count:,} copies of {mib:,} MiB in all, most of the
--   time {direction}
-- hint: copy the next inputs or layers on another stream while kernels run (pinned memory, non_blocking=True), keep on the GPU what each step
--   needs (no offloading of weights or the KV cache, if they fit), or send less (a narrower format); the class `copy` of `time_budget` and the
--   recipe `hidden_copies` show the effect
-- empty without: load.memop_details WHERE direction IS NOT NULL
-- requires: attribute.phase_spending, attribute.suspects, attribute.gpu_work, attribute.occurrences, attribute._unmeasured_ops, load.memop_details
-- columns:
--   phase       VARCHAR The phase, NULL in a trace without phases.
--   at_stake_ns BIGINT  Time in which one of them runs and nothing else does, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'copy'.
--   place       VARCHAR The phase in a sentence.
--   share       DOUBLE  at_stake_ns of the measured time of the phase.
--   copy_count  BIGINT  Such copies.
--   mib         BIGINT  What they copy, rounded up. Unit: MiB.
--   direction   VARCHAR The direction that takes most of their time.
WITH copy AS (
    SELECT p.phase, d.direction, count(*) AS copy_count, sum(w.bytes) AS bytes, sum(w.end_ns - w.start_ns) AS time_ns
    FROM attribute.gpu_work AS w
    JOIN load.memop_details AS d USING (op_id)
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = w.op_id
    WHERE w.kind = 'memcpy' AND d.direction <> 'Peer-to-Peer'
        AND coalesce(d.source_memory, '') <> 'pageable' AND coalesce(d.target_memory, '') <> 'pageable' AND coalesce(p.is_measured, true)
        AND (p.phase IS NOT NULL OR (SELECT count(*) FROM attribute.occurrences) = 0)
    GROUP BY p.phase, d.direction
),
phase_copy AS (
    SELECT
        phase, sum(copy_count)::BIGINT AS copy_count, ceil(sum(bytes) / 1048576)::BIGINT AS mib, sum(time_ns)::BIGINT AS time_ns,
        arg_max(direction, (time_ns, direction)) AS direction
    FROM copy
    GROUP BY phase
)
SELECT
    s.phase, least(e.exposed_ns, s.copy_ns) AS at_stake_ns, 'copy' AS budget_part, s.place, least(e.exposed_ns, s.copy_ns) / s.phase_ns AS share,
    c.copy_count, c.mib, c.direction
FROM attribute.phase_spending AS s
JOIN phase_copy AS c ON c.phase IS NOT DISTINCT FROM s.phase
JOIN attribute.suspects AS e ON e.what = 'pinned copy' AND e.phase IS NOT DISTINCT FROM s.phase
WHERE least(e.exposed_ns, s.copy_ns) >= greatest(s.least_ns, s.phase_ns / 10)
