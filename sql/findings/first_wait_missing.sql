-- Training steps of which the first lacks its wait for input: nothing before it says when that began.
-- Algorithm: the first step of a lane, and of each further recording of it, begins with its first pass. It lacks what the later ones wait before theirs, as far as it is shorter.
-- Grain: one row, where that is a hundredth of the steps' time at least.
-- severity: info
-- message: the first training step of a recording begins with its first pass, for nothing says when its wait for input began: about {missing_ns:ms} that later
--   ones wait are not in its time, so that tokens per second and MFU of the steps' time are about {share:%} too high
-- hint: compare with `tokens` and `median_wall_ns`, or record more steps
-- concerns: estimate.training_steps
-- empty without: attribute.training_step_spans
-- requires: attribute.training_step_spans, estimate.training_steps
-- columns:
--   phase       VARCHAR NULL: it is of whole steps.
--   at_stake_ns BIGINT  NULL: nothing to win. Unit: ns.
--   missing_ns  BIGINT  What the first steps lack, added up over lanes. Unit: ns.
--   share       DOUBLE  missing_ns of the time of all measured steps.
WITH step AS (
    SELECT
        t.lane, t.is_measured, t.wall_ns, t.input_wait_ns,
        coalesce(lag(p.end_ns) OVER (PARTITION BY lane ORDER BY step) <> p.start_ns AND p.start_ns = p.first_pass_ns, true) AS is_first
    FROM estimate.training_steps AS t JOIN attribute.training_step_spans AS p USING (lane, step)
),
later AS (
    SELECT lane, median(wall_ns) AS wall_ns, median(input_wait_ns) AS wait_ns
    FROM step
    WHERE is_measured AND NOT is_first
    GROUP BY lane
),
total AS (
    SELECT
        sum(greatest(0, least(l.wait_ns, l.wall_ns - s.wall_ns)))::BIGINT AS missing_ns,
        (SELECT sum(wall_ns) FROM step WHERE is_measured) AS wall_ns
    FROM step AS s JOIN later AS l USING (lane)
    WHERE s.is_first AND s.is_measured AND s.input_wait_ns = 0
)
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, missing_ns, missing_ns / wall_ns AS share
FROM total
WHERE missing_ns >= wall_ns / 100
