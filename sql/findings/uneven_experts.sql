-- Ranks that wait for another one because tokens choose its experts.
-- Algorithm: in each step the grouped products of the busiest rank are compared with those of the others, step by step, because the
-- rank changes with the tokens. A fifth more than the mean, and the difference is part of the time in which ranks wait. Only where
-- all ranks have as many steps: else steps of one number are not the same step.
-- Grain: phase.
-- severity: info
-- message: in {place} the experts of the busiest of {ranks:,} ranks take {share:%} longer than those of all ranks on average, and the
--   others wait
-- hint: balance the load of experts (redundant copies of hot ones, as EPLB does; a balancing loss in training), or larger batches; the
--   class `wait` of `time_budget` shows the effect
-- empty without: attribute.expert_steps
-- requires: attribute.phase_spending, attribute.expert_steps
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  What the others' experts take less than the busiest rank's, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'wait'.
--   place       VARCHAR The phase in a sentence.
--   ranks       BIGINT  Processes with experts.
--   share       DOUBLE  How much longer the busiest one takes, over all steps.
WITH rank AS (
    SELECT phase, process_key, count(*) AS steps FROM attribute.expert_steps GROUP BY phase, process_key
),
even AS (
    SELECT phase, count(*) AS ranks FROM rank GROUP BY phase HAVING count(*) >= 2 AND min(steps) = max(steps)
),
step AS (
    SELECT phase, step, max(time_ns) AS most_ns, sum(time_ns) AS time_ns FROM attribute.expert_steps GROUP BY phase, step
),
summed AS (
    SELECT e.phase, e.ranks, sum(s.most_ns) AS most_ns, sum(s.time_ns) AS time_ns, sum(e.ranks * s.most_ns - s.time_ns) AS less_ns
    FROM step AS s JOIN even AS e USING (phase)
    GROUP BY e.phase, e.ranks
)
SELECT
    s.phase, least(e.less_ns, s.wait_ns)::BIGINT AS at_stake_ns, 'wait' AS budget_part, s.place, e.ranks,
    (e.most_ns * e.ranks / nullif(e.time_ns, 0) - 1)::DOUBLE AS share
FROM attribute.phase_spending AS s JOIN summed AS e USING (phase)
WHERE 5 * e.most_ns * e.ranks >= 6 * e.time_ns AND e.time_ns > 0 AND least(e.less_ns, s.wait_ns) >= s.phase_ns / 20
    AND least(e.less_ns, s.wait_ns) >= s.least_ns
