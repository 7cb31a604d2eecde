-- How long the other ranks wait for each rank in collectives, over all phases, and where most.
-- Grain: process_key; ranks for which nobody waits are absent.
-- requires: attribute.phase_lateness
-- columns:
--   process_key BIGINT  Joins load.ranks.
--   blamed_ns   BIGINT  Time that other ranks waited in collectives to which this one came last. Unit: ns.
--   step_ns     BIGINT  Mean time that one of them waits for it in a training step; NULL without training. Unit: ns.
--   is_late     BOOLEAN Whether it is late in a phase.
--   late_phase  VARCHAR The phase in which it is late and the others wait for it longest.
--   more_ns     BIGINT  What the reason explains there. Unit: ns.
--   reason      VARCHAR Why it is late there: see attribute.phase_lateness.
WITH worst AS (
    SELECT
        process_key, phase, CASE WHEN reason IS NOT NULL THEN more_ns END AS more_ns, reason,
        row_number() OVER (PARTITION BY process_key ORDER BY wait_ns DESC, phase) AS place
    FROM attribute.phase_lateness
    WHERE is_late
),
summed AS (
    SELECT
        l.process_key, sum(l.blamed_ns)::BIGINT AS blamed_ns, bool_or(l.is_late) AS is_late,
        (sum(l.step_ns) FILTER (l.is_trained))::BIGINT AS step_ns
    FROM attribute.phase_lateness AS l
    GROUP BY l.process_key
)
SELECT s.process_key, s.blamed_ns, s.step_ns, s.is_late, w.phase AS late_phase, w.more_ns, w.reason
FROM summed AS s LEFT JOIN worst AS w ON w.process_key = s.process_key AND w.place = 1
