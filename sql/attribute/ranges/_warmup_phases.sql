-- Warm-up ranges that hold no phase: a phase called `warmup`, so that their work is in a row of its own.
-- Of those inside each other the outermost counts. A phase that starts in the instant in which one ends is not in it.
-- Grain: range_id.
-- empty without: input.range_roles WHERE role = 'warmup'
-- requires: load.nvtx_ranges, input.range_roles, attribute._phase_candidates
-- columns:
--   range_id    BIGINT   Joins load.nvtx_ranges.
--   kind        VARCHAR  'push_pop' or 'start_end'.
--   process_key BIGINT   Joins load.processes.
--   global_tid  BIGINT   Thread that opened it. Joins load.threads.
--   start_ns    BIGINT   Unit: ns.
--   end_ns      BIGINT   Unit: ns.
--   is_closed   BOOLEAN  Whether its end was recorded.
WITH warmup AS (
    SELECT r.range_id, r.kind, r.process_key, r.global_tid, r.start_ns, r.end_ns, r.is_closed
    FROM load.nvtx_ranges AS r JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
    WHERE m.role = 'warmup'
),
empty AS (
    SELECT w.*
    FROM warmup AS w
    ASOF LEFT JOIN attribute._phase_candidates AS p ON p.global_tid = w.global_tid AND p.start_ns >= w.start_ns
    WHERE p.start_ns IS NULL OR p.start_ns >= w.end_ns
)
SELECT range_id, kind, process_key, global_tid, start_ns, end_ns, is_closed
FROM empty
QUALIFY NOT coalesce(
    max(end_ns) OVER (
        PARTITION BY global_tid ORDER BY start_ns, end_ns DESC, range_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) >= end_ns,
    false
)
