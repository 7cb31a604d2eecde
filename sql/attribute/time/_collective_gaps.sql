-- What a rank's GPU did before it came to a collective, since the ranks had met.
-- Grain: op_id of attribute._measured_collectives; absent if its ranks have not met before.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NOT NULL
-- requires: attribute._measured_collectives, attribute._meetings, attribute._spent_until, attribute.collectives, attribute.occurrences
-- columns:
--   op_id         BIGINT  Joins attribute.collectives.
--   is_after_cold BOOLEAN Whether warm-up or a cold occurrence of its process lies between: what made it late is in no sum.
--   compute_ns    BIGINT  Kernels that do not communicate run. Unit: ns.
--   data_ns       BIGINT  Nothing runs, before the first pass of a training step. Unit: ns.
--   host_ns       BIGINT  Nothing runs otherwise. Unit: ns.
WITH kernel AS (
    SELECT m.op_id, m.group_id, c.process_key, c.device_id, c.start_ns, o.start_ns AS pass_ns
    FROM attribute._measured_collectives AS m
    JOIN attribute.collectives AS c USING (op_id)
    JOIN attribute.occurrences AS o USING (occurrence_id)
),
gap AS (
    SELECT k.op_id, k.process_key, k.device_id, k.start_ns, k.pass_ns, m.end_ns AS met_ns, m.pass_ns AS met_pass_ns
    FROM kernel AS k
    -- Two communicators may have met in one instant.
    ASOF JOIN (
        SELECT group_id, process_key, device_id, end_ns, max(pass_ns) AS pass_ns FROM attribute._meetings GROUP BY ALL
    ) AS m
        ON m.group_id = k.group_id AND m.process_key = k.process_key AND m.device_id = k.device_id AND m.end_ns <= k.start_ns
),
judged AS (
    SELECT g.*, coalesce(u.start_ns >= g.met_pass_ns, false) AS is_after_cold
    FROM gap AS g
    ASOF LEFT JOIN (SELECT process_key, start_ns FROM attribute.occurrences WHERE NOT is_measured) AS u
        ON u.process_key = g.process_key AND u.start_ns <= g.pass_ns
),
timed AS (
    SELECT
        g.op_id, g.is_after_cold, t.compute_ns - f.compute_ns AS compute_ns,
        g.start_ns - g.met_ns - (t.busy_ns - f.busy_ns) AS idle_ns, t.input_ns - f.input_ns AS input_ns
    FROM judged AS g
    JOIN attribute._spent_until AS f ON f.device_id = g.device_id AND f.at_ns = g.met_ns
    JOIN attribute._spent_until AS t ON t.device_id = g.device_id AND t.at_ns = g.start_ns
)
SELECT
    op_id, is_after_cold, compute_ns, least(idle_ns, input_ns) AS data_ns, idle_ns - least(idle_ns, input_ns) AS host_ns
FROM timed
