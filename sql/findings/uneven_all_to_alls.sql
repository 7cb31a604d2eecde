-- Ranks that wait for each other in all-to-alls and take turns in it, as when tokens choose experts unevenly.
-- A twentieth of the phase's time. Not if one rank has most of the blame, which is late_rank, nor if products of experts say so
-- themselves, which is uneven_experts.
-- Grain: phase.
-- severity: info
-- message: in {place} ranks wait {share:%} of the time in all-to-alls for the last of {ranks:,}, and none is always the last: {worst} has
--   {blame:%} of the blame; the slowest one's transfers take {longer:%} longer than the mean
-- hint: balance the load of experts (redundant copies of hot ones, as EPLB does; a balancing loss in training); if transfers are even, too,
--   it may be hosts that launch late in turns: `llmperf sql TRACE "from collective_skew"` has each
-- empty without: attribute.collectives
-- requires: attribute._measured_collectives, attribute.communication_overlap, attribute.phase_spending, load.ranks, findings.uneven_experts, macros.rank_words
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Waiting in all-to-alls that no compute hides, at most that of the class `wait`. Unit: ns.
--   place       VARCHAR The phase in a sentence.
--   share       DOUBLE  at_stake_ns of the measured time of the phase.
--   ranks       BIGINT  Ranks of the communicator.
--   worst       VARCHAR The rank that the others wait for most.
--   blame       DOUBLE  Its part of all waiting.
--   longer      DOUBLE  Longest transfer of a collective, over the mean of its ranks, - 1; over all of them.
WITH collective AS (
    SELECT
        c.phase, any_value(c.rank_count) AS ranks, sum(c.wait_ns) AS wait_ns, sum(least(c.wait_ns, o.exposed_ns)) AS exposed_ns,
        min(c.process_key) FILTER (c.is_last) AS process_key, max(c.transfer_ns) * count(*) AS most_ns, sum(c.transfer_ns) AS transfer_ns
    FROM attribute._measured_collectives AS c JOIN attribute.communication_overlap AS o USING (op_id)
    WHERE c.kind = 'all_to_all'
    GROUP BY c.phase, c.group_id, c.number
),
blamed AS (
    SELECT phase, process_key, sum(wait_ns) AS wait_ns FROM collective GROUP BY phase, process_key
),
worst AS (
    SELECT phase, arg_max(process_key, (wait_ns, -process_key)) AS process_key, max(wait_ns) AS wait_ns FROM blamed GROUP BY phase
),
summed AS (
    SELECT
        phase, max(ranks) AS ranks, sum(wait_ns) AS wait_ns, sum(exposed_ns) AS exposed_ns, sum(most_ns) AS most_ns, sum(transfer_ns) AS transfer_ns
    FROM collective
    GROUP BY phase
)
SELECT
    s.phase, least(c.exposed_ns, s.wait_ns)::BIGINT AS at_stake_ns, s.place, least(c.exposed_ns, s.wait_ns) / s.phase_ns AS share, c.ranks,
    macros.rank_words(r.rank, w.process_key) AS worst, w.wait_ns / c.wait_ns AS blame,
    (coalesce(c.most_ns / nullif(c.transfer_ns, 0), 1) - 1)::DOUBLE AS longer
FROM attribute.phase_spending AS s
JOIN summed AS c USING (phase)
JOIN worst AS w USING (phase)
LEFT JOIN load.ranks AS r ON r.process_key = w.process_key
ANTI JOIN findings.uneven_experts AS told ON told.phase = s.phase
WHERE c.wait_ns > 0 AND w.wait_ns < greatest(0.5, 1.5 / c.ranks) * c.wait_ns
    AND least(c.exposed_ns, s.wait_ns) >= greatest(s.phase_ns / 20, s.least_ns)
