-- A rank that the others wait for in collectives.
-- Algorithm: in each collective the ranks that are there wait for the last one to come: see attribute.phase_lateness.
-- Why is known of collectives before which the ranks had met: it explains that much at least.
-- Warm-up, cold occurrences and cold training steps are left out.
-- Grain: a rank and a phase.
-- severity: info
-- message: in {phase} the other ranks wait {wait_ns:ms} for {what}{step}{hidden}, and it comes last to {late_count:,} of
--   {collectives:,} collectives{why}
-- hint: `llmperf sql TRACE "from rank_lateness"` has each rank's cost and reason by phase, `rank_summary` what its time went to
-- empty without: attribute.phase_lateness
-- requires: attribute.phase_lateness, attribute.phase_spending, load.ranks, macros.rank_words
-- columns:
--   phase       VARCHAR Phase of the kernels that wait.
--   at_stake_ns BIGINT  Time that the others wait for it, added up over them: at most what the class has, unless other work hides
--                       all of it. Unit: ns.
--   budget_part VARCHAR 'wait', or NULL if other work hides the waiting.
--   what        VARCHAR The rank, or its process.
--   step        VARCHAR Mean time that one of the others waits for it in a training step; without training, in an occurrence of
--                       the phase. '' if what is waited is known of no whole step.
--   hidden      VARCHAR For how much of it at most they run nothing else, where that is less than nine tenths; else ''.
--   why         VARCHAR What its GPU has more of than those of the others before these collectives: see attribute._blamed_ranks.
--   late_count  BIGINT  Collectives to which it comes last.
--   collectives BIGINT  Collectives of the phase.
--   wait_ns     BIGINT  Time that the others wait for it. Unit: ns.
SELECT
    l.phase, CASE WHEN s.wait_ns > 0 THEN least(l.wait_ns, s.wait_ns) ELSE l.wait_ns END::BIGINT AS at_stake_ns,
    CASE WHEN s.wait_ns > 0 THEN 'wait' END AS budget_part,
    macros.rank_words(r.rank, l.process_key) AS what, l.late_count, l.collectives, l.wait_ns,
    coalesce(format(', each of them {:,.1f} ms a step', l.step_ns / 1e6), '') AS step,
    CASE
        WHEN 10 * s.wait_ns < 9 * l.wait_ns THEN format(', in which their GPUs do nothing else for at most {:,.1f} ms', s.wait_ns / 1e6)
        ELSE ''
    END AS hidden,
    CASE l.reason
        WHEN 'compute' THEN format(': before them its kernels take at least {:,.1f} ms longer than those of the others', l.more_ns / 1e6)
        WHEN 'data' THEN format(': before them it takes at least {:,.1f} ms longer until the first pass of its steps, as when it waits for data', l.more_ns / 1e6)
        WHEN 'host' THEN format(': before them its GPU is idle for at least {:,.1f} ms longer, for the host does something else', l.more_ns / 1e6)
        ELSE '; the trace does not show why'
    END AS why
FROM attribute.phase_lateness AS l
LEFT JOIN attribute.phase_spending AS s ON s.phase = l.phase
LEFT JOIN load.ranks AS r ON r.process_key = l.process_key
WHERE l.is_late
