-- Ranges that a rule (or the marker contract) calls a phase, without those that are a part of another one.
-- A range is no phase where one of greater strength is open when it starts: a `forward` inside `prefill` is a part of it.
-- Nor is it where the contract or the user calls such a range the same phase.
-- A `forward` inside `backward` runs a checkpointed pass again: a part of it, too.
-- A `step` in which a range of the contract begins that ends after it is no phase: SGLang's own range of a batch closes
-- just before the marked pass in it does, and that one is the phase.
-- A range that starts in the instant in which the one before it ends follows that one, unless it ends then, too.
-- An optimizer that runs the passes itself (a closure, as Lightning's) begins when the last of them is done.
-- Algorithm: a range that started earlier is open if the latest end of such ranges is not before now, so that one running
-- maximum for each strength does without a join.
-- Grain: range_id.
-- materialize: table
-- requires: load.nvtx_ranges, input.range_roles, attribute._recomputing_threads
-- columns:
--   range_id     BIGINT   Joins load.nvtx_ranges.
--   phase        VARCHAR  The name that the rule gives.
--   kind         VARCHAR  'push_pop' or 'start_end'.
--   process_key  BIGINT   Joins load.processes.
--   global_tid   BIGINT   Thread that opened it. Joins load.threads.
--   start_ns     BIGINT   Unit: ns.
--   end_ns       BIGINT   Unit: ns.
--   is_closed    BOOLEAN  Whether its end was recorded.
--   is_container BOOLEAN  Whether it has, around other phases, their rest alone.
--   new_tokens   BIGINT   Tokens as its text states them. Unit: tokens.
WITH named AS (
    SELECT
        r.range_id, r.kind, r.process_key, r.global_tid, r.start_ns, r.end_ns, r.is_closed,
        m.phase, m.strength, m.is_certain, m.is_container, m.new_tokens,
        max(CASE WHEN r.kind = 'push_pop' AND m.phase IN ('forward', 'backward') THEN r.end_ns END) OVER (
            PARTITION BY r.global_tid ORDER BY r.start_ns
            RANGE BETWEEN CURRENT ROW AND greatest(r.end_ns - r.start_ns - 1, 0) FOLLOWING
        ) AS passes_until_ns
    FROM load.nvtx_ranges AS r JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
    WHERE m.role = 'phase'
),
begun AS (
    SELECT * REPLACE (
        CASE WHEN phase = 'optimizer' AND kind = 'push_pop' AND passes_until_ns <= end_ns THEN passes_until_ns ELSE start_ns END AS start_ns
    )
    FROM named
),
placed AS (
    SELECT
        r.range_id, r.kind, r.process_key, r.global_tid, r.start_ns, r.end_ns, r.is_closed,
        least(r.start_ns + 1, r.end_ns) AS inside_ns,
        r.phase, r.strength, r.is_certain, r.is_container, r.new_tokens,
        max(CASE WHEN r.kind = 'push_pop' AND r.strength = 3 THEN r.end_ns END) OVER sofar AS strong_until_ns,
        max(CASE WHEN r.kind = 'push_pop' AND r.strength >= 2 THEN r.end_ns END) OVER sofar AS weak_until_ns,
        max(CASE WHEN r.kind = 'push_pop' AND r.strength >= 1 THEN r.end_ns END) OVER sofar AS framework_until_ns,
        max(CASE WHEN r.kind = 'push_pop' AND r.phase = 'backward' THEN r.end_ns END) OVER sofar AS backward_until_ns,
        max(CASE WHEN r.kind = 'push_pop' AND r.is_certain THEN r.end_ns END) OVER (
            PARTITION BY r.global_tid, r.phase ORDER BY r.start_ns, r.end_ns DESC, r.range_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS certain_until_ns,
        max(CASE WHEN r.kind = 'push_pop' AND r.strength = 3 AND NOT r.is_certain THEN r.end_ns END) OVER (
            PARTITION BY r.global_tid, r.phase ORDER BY r.start_ns, r.end_ns DESC, r.range_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS loop_until_ns,
        max(CASE WHEN r.kind = 'push_pop' AND r.is_certain THEN r.end_ns END) OVER (
            PARTITION BY r.global_tid ORDER BY r.start_ns
            RANGE BETWEEN CURRENT ROW AND greatest(r.end_ns - r.start_ns - 1, 0) FOLLOWING
        ) AS begun_until_ns
    FROM begun AS r
    WINDOW sofar AS (
        PARTITION BY r.global_tid ORDER BY r.start_ns, r.end_ns DESC, r.range_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
)
SELECT
    range_id, phase, kind, process_key, global_tid, start_ns, end_ns, is_closed, is_container, new_tokens
FROM placed
ANTI JOIN attribute._recomputing_threads USING (global_tid)
WHERE NOT coalesce(phase = 'forward' AND backward_until_ns >= inside_ns, false)
    AND NOT coalesce(NOT is_certain AND certain_until_ns >= inside_ns, false)
    AND NOT coalesce(NOT is_certain AND strength = 0 AND begun_until_ns > end_ns, false)
    AND NOT coalesce(
        CASE strength
            -- Steps of an engine inside `decode_all` are what that one loops over.
            WHEN 2 THEN CASE WHEN NOT coalesce(loop_until_ns >= inside_ns, false) THEN strong_until_ns END
            WHEN 1 THEN weak_until_ns
            WHEN 0 THEN framework_until_ns
        END >= inside_ns,
        false
    )
