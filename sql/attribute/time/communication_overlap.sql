-- How much of each communication kernel is hidden behind compute of the same GPU, and how much is exposed.
-- Algorithm: compute is merged into islands; the compute time before an instant is a running sum of their lengths, so the
-- overlap of a kernel is the difference of that sum between its end and its start.
-- Grain: op_id.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication, attribute._compute_beside, macros.islands
-- columns:
--   op_id         BIGINT  Joins attribute.gpu_work.
--   overlapped_ns BIGINT  Time in which a kernel that does not communicate runs beside it. Unit: ns.
--   exposed_ns    BIGINT  The rest of its time. Unit: ns.
WITH island AS (
    SELECT
        group_id AS device_id, start_ns, end_ns,
        coalesce(sum(end_ns - start_ns) OVER (
            PARTITION BY group_id ORDER BY start_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS before_ns
    FROM macros.islands('attribute._compute_beside')
),
at_start AS (
    SELECT c.op_id, coalesce(i.before_ns + least(c.start_ns, i.end_ns) - i.start_ns, 0) AS compute_ns
    FROM attribute._communication AS c
    ASOF LEFT JOIN island AS i ON i.device_id = c.device_id AND i.start_ns <= c.start_ns
),
at_end AS (
    SELECT c.op_id, c.end_ns - c.start_ns AS dur_ns, coalesce(i.before_ns + least(c.end_ns, i.end_ns) - i.start_ns, 0) AS compute_ns
    FROM attribute._communication AS c
    ASOF LEFT JOIN island AS i ON i.device_id = c.device_id AND i.start_ns <= c.end_ns
)
SELECT
    s.op_id, (e.compute_ns - s.compute_ns)::BIGINT AS overlapped_ns,
    (e.dur_ns - (e.compute_ns - s.compute_ns))::BIGINT AS exposed_ns
FROM at_start AS s JOIN at_end AS e USING (op_id)
