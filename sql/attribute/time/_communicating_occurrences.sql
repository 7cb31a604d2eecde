-- Occurrences in which kernels communicate, and how long GPUs are busy with other work of them: a kernel that communicates also
-- waits for other ranks.
-- Grain: occurrence_id.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication, attribute.gpu_work, macros.busy_ns
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
--   own_ns        BIGINT  Busy time without communication, added up over GPUs. Unit: ns.
WITH own_work AS (
    SELECT w.occurrence_id * 1024 + (coalesce(w.device_id, 0) & 1023) AS group_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    SEMI JOIN attribute._communication AS o ON o.occurrence_id = w.occurrence_id
    ANTI JOIN attribute._communication AS c ON c.op_id = w.op_id
),
busy AS (
    SELECT group_id >> 10 AS occurrence_id, sum(busy_ns)::BIGINT AS own_ns
    FROM macros.busy_ns('own_work')
    GROUP BY ALL
)
SELECT DISTINCT c.occurrence_id, coalesce(b.own_ns, 0) AS own_ns
FROM attribute._communication AS c LEFT JOIN busy AS b USING (occurrence_id)
WHERE c.occurrence_id IS NOT NULL
