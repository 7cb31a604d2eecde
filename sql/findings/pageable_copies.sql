-- Copies between the GPU and pageable memory of the host, which go through a pinned buffer while the host waits.
-- A twentieth of the phase's time.
-- Grain: phase.
-- severity: info
-- message: in {place} {copy_count:,} copies of {mib:,} MiB in all use pageable memory of the host
-- hint: pin it (`pin_memory=True`, `tensor.pin_memory()`) and copy with non_blocking=True; the classes `copy` and `launch` of
--   `time_budget` show the effect
-- empty without: load.memop_details WHERE 'pageable' IN (source_memory, target_memory)
-- requires: attribute.phase_spending, attribute.gpu_work, attribute.occurrences, attribute._unmeasured_ops, load.memop_details, macros.exposed
-- columns:
--   phase       VARCHAR The phase, NULL in a trace without phases.
--   at_stake_ns BIGINT  Time from the entry of their calls to their end in which nothing else runs on their GPU, at most that of the classes.
--                       Unit: ns.
--   budget_part VARCHAR 'copy+launch+sync'.
--   place       VARCHAR The phase in a sentence.
--   copy_count  BIGINT  Such copies.
--   mib         BIGINT  What they copy, rounded up. Unit: MiB.
WITH copy AS (
    SELECT
        p.phase, w.op_id, w.device_id, w.bytes, least(w.start_ns, w.launch_start_ns) AS start_ns,
        greatest(w.end_ns, w.launch_end_ns) AS end_ns
    FROM attribute.gpu_work AS w
    JOIN load.memop_details AS d USING (op_id)
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = w.op_id
    WHERE w.kind = 'memcpy' AND 'pageable' IN (d.source_memory, d.target_memory) AND coalesce(p.is_measured, true)
        AND (p.phase IS NOT NULL OR (SELECT count(*) FROM attribute.occurrences) = 0)
),
worth AS (
    SELECT
        s.phase, s.place, s.copy_ns + s.launch_ns + s.sync_ns AS most_ns, greatest(s.least_ns, s.phase_ns / 20) AS least_ns, count(*) AS copy_count,
        ceil(sum(c.bytes) / 1048576)::BIGINT AS mib
    FROM attribute.phase_spending AS s JOIN copy AS c ON c.phase IS NOT DISTINCT FROM s.phase
    GROUP BY ALL
    HAVING least(sum(c.end_ns - c.start_ns), most_ns) >= least_ns
),
span AS MATERIALIZED (
    SELECT {'phase': c.phase, 'device_id': c.device_id} AS group_id, c.start_ns, c.end_ns
    FROM copy AS c SEMI JOIN worth AS t ON t.phase IS NOT DISTINCT FROM c.phase
),
other AS MATERIALIZED (
    SELECT s.group_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN (SELECT group_id, min(start_ns) AS start_ns, max(end_ns) AS end_ns FROM span GROUP BY group_id) AS s
        ON s.group_id.device_id IS NOT DISTINCT FROM w.device_id AND w.end_ns > s.start_ns AND w.start_ns < s.end_ns
    ANTI JOIN copy AS c ON c.op_id = w.op_id AND c.phase IS NOT DISTINCT FROM s.group_id.phase
),
alone AS (
    SELECT group_id.phase AS phase, sum(dur_ns)::BIGINT AS exposed_ns FROM macros.exposed('span', 'other') GROUP BY ALL
)
SELECT
    t.phase, least(a.exposed_ns, t.most_ns) AS at_stake_ns, 'copy+launch+sync' AS budget_part, t.place, t.copy_count, t.mib
FROM worth AS t JOIN alone AS a ON a.phase IS NOT DISTINCT FROM t.phase
WHERE least(a.exposed_ns, t.most_ns) >= t.least_ns
