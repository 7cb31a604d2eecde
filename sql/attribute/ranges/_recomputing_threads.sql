-- Threads on which autograd runs a checkpointed forward pass again: all their phases are a `forward`, each of them inside
-- a `backward` that is open on another thread of the process.
-- Grain: global_tid.
-- materialize: table
-- empty without: input.range_roles WHERE phase = 'backward'
-- requires: load.nvtx_ranges, input.range_roles
-- columns:
--   global_tid BIGINT  Joins load.threads.
WITH phase AS (
    SELECT
        r.global_tid, m.phase, r.end_ns,
        max(CASE WHEN m.phase = 'backward' AND r.kind = 'push_pop' THEN r.end_ns END) OVER (
            PARTITION BY r.process_key ORDER BY r.start_ns RANGE UNBOUNDED PRECEDING
        ) AS backward_until_ns
    FROM load.nvtx_ranges AS r JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
    WHERE m.role = 'phase'
)
SELECT global_tid
FROM phase
GROUP BY global_tid
HAVING bool_and(phase = 'forward' AND coalesce(backward_until_ns >= end_ns, false))
