-- A rank that the others wait for in collectives.
-- Algorithm: in each collective the ranks that are there wait for the last one to come. The late one came last to at least half
-- of that waiting time and one and a half times its fair share; or to more than its share, if attribute.rank_lateness calls it
-- late over all phases, for it looks at what the rank does instead. Warm-up, cold occurrences and cold training steps are left out.
-- Grain: a rank and a phase.
-- severity: info
-- message: in {phase} the other ranks wait {wait_ns:ms} for {what}, each of them {step_ns:ms} a step, and it comes last to
--   {late_count:,} of {collectives:,} collectives{why}
-- hint: `llmperf sql TRACE "from rank_summary"` has what each rank's time went to, and `time_budget` its classes by phase
-- empty without: attribute.collectives
-- requires: attribute.occurrences, attribute.phase_lateness, attribute.phase_spending, attribute.rank_lateness, attribute.training_step_spans, load.ranks, macros.rank_words
-- columns:
--   phase       VARCHAR Phase of the kernels that wait.
--   at_stake_ns BIGINT  Time that the others wait for it, added up over them: at most what the class has, unless other work hides
--                       all of it. Unit: ns.
--   budget_part VARCHAR 'wait', or NULL if other work hides the waiting.
--   what        VARCHAR The rank, or its process.
--   step_ns     BIGINT  Mean time that one of the others waits for it in a training step; without training, in an occurrence of
--                       the phase. Steps behind a cold one count, what is waited in them until the ranks meet does not. Unit: ns.
--   why         VARCHAR What its GPU has more of than those of the others before these collectives: see attribute.phase_lateness.
--   late_count  BIGINT  Collectives to which it comes last.
--   collectives BIGINT  Collectives of the phase.
--   wait_ns     BIGINT  Time that the others wait for it. Unit: ns.
WITH passed AS (
    SELECT o.phase, o.process_key, coalesce(any_value(t.steps), count(*)) AS steps
    FROM attribute.occurrences AS o
    LEFT JOIN (
        SELECT process_key, count(*) AS steps FROM attribute.training_step_spans WHERE NOT is_left_cold AND NOT is_warmup GROUP BY process_key
    ) AS t USING (process_key)
    WHERE o.is_measured
    GROUP BY o.phase, o.process_key
)
SELECT
    l.phase, CASE WHEN s.wait_ns > 0 THEN least(l.wait_ns, s.wait_ns) ELSE l.wait_ns END::BIGINT AS at_stake_ns,
    CASE WHEN s.wait_ns > 0 THEN 'wait' END AS budget_part,
    macros.rank_words(r.rank, l.process_key) AS what, l.late_count, l.collectives, l.wait_ns,
    (l.wait_ns / nullif(n.steps * (l.rank_count - 1), 0))::BIGINT AS step_ns,
    CASE l.reason
        WHEN 'compute' THEN format(': before them its kernels take {:,.1f} ms longer than those of the others', l.more_ns / 1e6)
        WHEN 'data' THEN format(': before them it takes {:,.1f} ms longer until the first pass of its steps, as when it waits for data', l.more_ns / 1e6)
        WHEN 'host' THEN format(': before them its GPU is idle for {:,.1f} ms longer, for the host does something else', l.more_ns / 1e6)
        ELSE '; the trace does not show why'
    END AS why
FROM attribute.phase_lateness AS l
JOIN passed AS n ON n.phase = l.phase AND n.process_key = l.process_key
LEFT JOIN attribute.phase_spending AS s ON s.phase = l.phase
LEFT JOIN attribute.rank_lateness AS o ON o.process_key = l.process_key
LEFT JOIN load.ranks AS r ON r.process_key = l.process_key
-- Somebody always comes last. It matters if one rank has far more than its share of a time that matters.
WHERE l.wait_ns >= 1000000
    AND (
        l.wait_ns >= greatest(0.5, 1.5 / l.rank_count) * l.total_ns
        OR (o.is_late AND l.reason IS NOT NULL AND l.wait_ns > l.total_ns / l.rank_count)
    )
