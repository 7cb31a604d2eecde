-- Training steps of which the first lacks its wait for input: nothing before it says when that began.
-- Algorithm: the first step of a lane, and of each further recording of it, begins with its first pass. It lacks what the later ones wait before theirs, as far as it is shorter.
-- What the GPU still does behind the last launches of the last one of them is in that one's time; in that of the others it is a part of the wait.
-- Grain: one row, where that is a hundredth of the steps' time at least.
-- severity: info
-- message: the first training step of a recording begins with its first pass, for nothing says when its wait for input began: about {missing_ns:ms} that later
--   ones wait are not in its time, so that tokens per second and MFU of the steps' time are about {share:%} too high
-- hint: compare with `tokens` and `median_wall_ns`, or record more steps
-- concerns: estimate.training_steps
-- empty without: attribute.training_step_spans
-- requires: attribute.training_step_spans, attribute.training_passes, estimate.training_steps
-- columns:
--   phase       VARCHAR NULL: it is of whole steps.
--   at_stake_ns BIGINT  NULL: nothing to win. Unit: ns.
--   missing_ns  BIGINT  What the first steps lack, added up over lanes. Unit: ns.
--   share       DOUBLE  missing_ns of the time of all measured steps.
WITH host AS (
    SELECT lane, step, max(end_ns) AS end_ns FROM attribute.training_passes WHERE step IS NOT NULL GROUP BY lane, step
),
placed AS (
    SELECT
        t.lane, t.step, t.is_measured, t.wall_ns, t.input_wait_ns, greatest(0, t.end_ns - h.end_ns) AS tail_ns,
        coalesce(lag(p.end_ns) OVER steps <> p.start_ns AND p.start_ns = p.first_pass_ns, true) AS is_first,
        coalesce(lag(t.is_measured) OVER steps, false) AS is_behind_measured
    FROM estimate.training_steps AS t
    JOIN attribute.training_step_spans AS p USING (lane, step)
    JOIN host AS h USING (lane, step)
    WINDOW steps AS (PARTITION BY lane ORDER BY step)
),
-- Steps without a break between them: the last one ends with the GPU's work, the others on the host.
run AS (
    SELECT *, count(CASE WHEN is_first OR NOT (is_measured AND is_behind_measured) THEN 1 END) OVER (PARTITION BY lane ORDER BY step) AS run FROM placed
),
step AS (
    SELECT *, wall_ns - tail_ns AS host_ns, sum(tail_ns) OVER (PARTITION BY lane, run) AS run_tail_ns FROM run WHERE is_measured
),
later AS (
    SELECT lane, median(host_ns) AS host_ns, median(input_wait_ns) AS wait_ns FROM step WHERE NOT is_first GROUP BY lane
),
total AS (
    SELECT
        sum(greatest(0, least(l.wait_ns, l.host_ns - s.host_ns) - s.run_tail_ns))::BIGINT AS missing_ns,
        (SELECT sum(wall_ns) FROM step) AS wall_ns
    FROM step AS s JOIN later AS l USING (lane)
    WHERE s.is_first AND s.input_wait_ns = 0
)
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, missing_ns, missing_ns / wall_ns AS share
FROM total
WHERE missing_ns >= wall_ns / 100
