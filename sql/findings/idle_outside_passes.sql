-- Time of training steps in which the GPU runs no kernel, outside of every pass: it waits for input, its copy, clipping, logging, saving.
-- A twentieth of the steps' time. Only of ranks that have one GPU, alone: others wait for each other.
-- Algorithm: what measured steps have beside the windows of their passes and every other operation of the GPU. Copies that were launched
-- in no phase count as waiting: what the windows hide of them is not left.
-- Grain: one row.
-- severity: info
-- message: in {step_count:,} training steps the GPU runs no kernel outside their passes for {share:%} of the time: {input_ns:ms} before the first
--   pass, {other_ns:ms} later{copying}
-- hint: before the first pass: load ahead (more workers of the data loader, `pin_memory=True`), copy with non_blocking=True, keep slow code of the
--   host out of the loop; later: gradients that are looked at one by one, logging, saving; the recipe `longest_idle_gaps` shows where
-- concerns: estimate.training_steps
-- empty without: attribute.training_step_spans
-- requires: estimate.training_steps, attribute.gpu_work, attribute.windows, attribute._lone_devices, attribute.phase_spending, load.memop_details, macros.exposed
-- columns:
--   phase       VARCHAR NULL: it is of whole steps.
--   at_stake_ns BIGINT  Time of measured steps in which their GPUs run no kernel and no pass is measured, added up over GPUs. Unit: ns.
--   budget_part VARCHAR 'outside': the time is in no budget.
--   step_count  BIGINT  Measured steps.
--   share       DOUBLE  at_stake_ns of the time of these steps.
--   input_ns    BIGINT  What lies before the first pass of its step. Unit: ns.
--   other_ns    BIGINT  The rest. Unit: ns.
--   copying     VARCHAR How much of it is copied in, and from pageable memory; '' without.
WITH rank_device AS (
    SELECT process_key, any_value(device_id) AS device_id FROM attribute._lone_devices GROUP BY process_key HAVING count(*) = 1
),
step AS MATERIALIZED (
    SELECT d.device_id AS group_id, s.start_ns, s.end_ns, s.start_ns + s.input_wait_ns AS first_pass_ns
    FROM estimate.training_steps AS s JOIN rank_device AS d USING (process_key)
    WHERE s.is_measured
),
copy AS MATERIALIZED (
    SELECT w.op_id, w.device_id AS group_id, w.start_ns, w.end_ns, 'pageable' IN (d.source_memory, d.target_memory) AS is_pageable
    FROM attribute.gpu_work AS w JOIN load.memop_details AS d USING (op_id)
    WHERE w.kind = 'memcpy' AND w.occurrence_id IS NULL AND d.direction IS DISTINCT FROM 'Peer-to-Peer'
),
other AS MATERIALIZED (
    SELECT device_id AS group_id, start_ns, end_ns FROM attribute.windows
    UNION ALL
    SELECT w.device_id, w.start_ns, w.end_ns FROM attribute.gpu_work AS w ANTI JOIN copy AS c USING (op_id)
),
-- Steps of a GPU touch, so that a stretch may reach over the end of one: it is cut there.
stretch AS MATERIALIZED (
    SELECT e.group_id, greatest(e.start_ns, s.start_ns) AS start_ns, least(e.end_ns, s.end_ns) AS end_ns, s.first_pass_ns
    FROM macros.exposed('step', 'other') AS e
    JOIN step AS s ON s.group_id = e.group_id AND s.start_ns < e.end_ns AND s.end_ns > e.start_ns
),
copied AS (
    SELECT
        coalesce(sum(least(c.end_ns, s.end_ns) - greatest(c.start_ns, s.start_ns)), 0)::BIGINT AS copy_ns,
        coalesce(sum(least(c.end_ns, s.end_ns) - greatest(c.start_ns, s.start_ns)) FILTER (WHERE c.is_pageable), 0)::BIGINT AS pageable_ns
    FROM stretch AS s JOIN copy AS c ON c.group_id = s.group_id AND c.start_ns < s.end_ns AND c.end_ns > s.start_ns
),
total AS (
    SELECT
        sum(end_ns - start_ns)::BIGINT AS at_stake_ns,
        sum(greatest(0, least(end_ns, first_pass_ns) - start_ns))::BIGINT AS input_ns,
        (SELECT count(*) FROM step) AS step_count, (SELECT sum(end_ns - start_ns) FROM step) AS wall_ns
    FROM stretch
)
SELECT
    NULL::VARCHAR AS phase, t.at_stake_ns, 'outside' AS budget_part, t.step_count, t.at_stake_ns / t.wall_ns AS share, t.input_ns,
    t.at_stake_ns - t.input_ns AS other_ns,
    CASE
        WHEN c.copy_ns < t.at_stake_ns / 100 THEN ''
        ELSE format('; for {:,.1f} ms of it the GPU copies', c.copy_ns / 1e6)
            || CASE WHEN c.pageable_ns > 0 THEN format(', {:,.1f} ms from or to pageable memory of the host', c.pageable_ns / 1e6) ELSE '' END
    END AS copying
FROM total AS t CROSS JOIN copied AS c
WHERE t.at_stake_ns >= t.wall_ns / 20 AND t.at_stake_ns >= coalesce((SELECT max(least_ns) FROM attribute.phase_spending), 0)
