-- Collectives in which the ranks of a communicator have met: none of them computes as it ends, so that all go on from there
-- together. Where compute goes on beside it, a rank that was ahead still is.
-- Grain: group_id, op_id: for each communicator its own collectives and those of communicators that have all of its ranks.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NOT NULL
-- requires: attribute.collectives, attribute._compute_until, attribute.occurrences
-- columns:
--   group_id    BIGINT  The communicator.
--   op_id       BIGINT  Joins attribute.collectives.
--   process_key BIGINT  Joins load.processes.
--   device_id   BIGINT  Joins load.devices.
--   end_ns      BIGINT  Unit: ns.
--   pass_ns     BIGINT  Start of its phase's range, else of the kernel. Unit: ns.
WITH member AS (
    SELECT group_id, list(DISTINCT (process_key, device_id)) AS members, bool_and(kind = 'send_recv') AS is_sends
    FROM attribute.collectives
    WHERE group_id IS NOT NULL
    GROUP BY group_id
),
kernel AS (
    SELECT
        c.op_id, c.group_id, c.process_key, c.device_id, c.end_ns, coalesce(o.start_ns, c.start_ns) AS pass_ns,
        bool_and(e.compute_ns = t.compute_ns) OVER (PARTITION BY c.group_id, c.number) AS is_met
    FROM attribute.collectives AS c
    JOIN attribute._compute_until AS e ON e.device_id = c.device_id AND e.at_ns = c.end_ns
    JOIN attribute._compute_until AS t ON t.device_id = c.device_id AND t.at_ns = greatest(c.start_ns, c.end_ns - 5000)
    JOIN member AS g ON g.group_id = c.group_id
    LEFT JOIN attribute.occurrences AS o USING (occurrence_id)
    -- Sends are matched alone only if all ranks run them together.
    WHERE c.wait_ns IS NOT NULL AND coalesce(c.kind NOT IN ('broadcast', 'reduce') AND (c.kind <> 'send_recv' OR g.is_sends), true)
)
SELECT g.group_id, k.op_id, k.process_key, k.device_id, k.end_ns, k.pass_ns
FROM member AS g
JOIN member AS h ON list_has_all(h.members, g.members)
JOIN kernel AS k ON k.group_id = h.group_id
WHERE k.is_met AND list_contains(g.members, (k.process_key, k.device_id))
