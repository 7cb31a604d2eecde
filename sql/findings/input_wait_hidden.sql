-- Time before the first passes of training steps in which the GPU still works: the host waits for input, or runs ahead, and the GPU does not
-- notice. Such a time is no wait that another data loader would save.
-- Grain: one row, where that is a tenth of the steps' time at least and half of the time before their first passes.
-- severity: info
-- message: of {input_ns:ms} before the first passes of the training steps the GPUs work for {busy_ns:ms}, on what was launched before: input
--   costs them no more than the other {idle_ns:ms}
-- hint: the column before forward is time of the host; a faster data loader saves the idle part of it alone
-- concerns: estimate.training_steps
-- empty without: attribute.training_step_spans
-- requires: estimate.training_steps, attribute.gpu_work, attribute._lone_devices, macros.covered
-- columns:
--   phase       VARCHAR NULL: it is of whole steps.
--   at_stake_ns BIGINT  NULL: nothing to win. Unit: ns.
--   input_ns    BIGINT  Before the first passes of measured steps, added up over GPUs. Unit: ns.
--   busy_ns     BIGINT  In which the GPU works. Unit: ns.
--   idle_ns     BIGINT  The rest. Unit: ns.
WITH wait AS (
    SELECT
        row_number() OVER (ORDER BY a.device_id, s.start_ns) AS span_id, a.device_id AS group_id, s.start_ns,
        s.start_ns + s.input_wait_ns AS end_ns
    FROM estimate.training_steps AS s JOIN attribute._lone_devices AS a USING (process_key)
    WHERE s.is_measured
),
-- What is launched meanwhile, as the copy of the input, is no work that hides it.
work AS (
    SELECT g.device_id AS group_id, g.start_ns, g.end_ns
    FROM attribute.gpu_work AS g ASOF LEFT JOIN wait AS w ON w.group_id = g.device_id AND w.start_ns <= g.launch_start_ns
    WHERE g.end_ns > g.start_ns AND coalesce(w.end_ns <= g.launch_start_ns, true)
),
total AS (
    SELECT
        sum(w.end_ns - w.start_ns)::BIGINT AS input_ns, sum(c.covered_ns)::BIGINT AS busy_ns,
        (SELECT sum(wall_ns) FROM estimate.training_steps WHERE is_measured) AS wall_ns
    FROM wait AS w JOIN macros.covered('wait', 'work') AS c USING (span_id)
)
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, input_ns, busy_ns, input_ns - busy_ns AS idle_ns
FROM total
WHERE busy_ns >= wall_ns / 10 AND busy_ns >= input_ns / 2
