-- One row per occurrence of a phase: a range that a rule (or the marker contract) says is a phase.
-- A range that a weak rule calls a phase is none inside another phase: a `forward` inside `prefill` is a part of it.
-- One that a container rule calls a phase is none around other phases: a `step` around `forward` only groups them.
-- Grain: occurrence_id.
-- materialize: table
-- requires: load.nvtx_ranges, input.range_roles, macros.innermost_segments, attribute._request_spans, attribute._warmup_spans, attribute._strong_phase_spans
-- columns:
--   occurrence_id BIGINT   The range. Joins load.nvtx_ranges on range_id.
--   phase         VARCHAR  'prefill', 'decode', or the name that the rule gives.
--   occurrence    BIGINT   0, 1, 2, … within the phase, by start.
--   kind          VARCHAR  'push_pop' or 'start_end'.
--   process_key   BIGINT   Joins load.processes.
--   global_tid    BIGINT   Thread that opened it. Joins load.threads.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
--   is_closed     BOOLEAN  False where it was still open when the recording ended.
--   is_warmup     BOOLEAN  Whether a `warmup` range of its thread encloses it.
--   request_id    BIGINT   Innermost `request` range of its thread around it. Joins load.nvtx_ranges, else NULL.
--   new_tokens    BIGINT   Tokens through the model as the range's own text states them, else NULL. Unit: tokens.
WITH phase AS (
    SELECT r.*, m.phase, m.is_weak, m.is_container, m.new_tokens
    FROM load.nvtx_ranges AS r JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
    WHERE m.role = 'phase'
)
SELECT
    p.range_id AS occurrence_id, p.phase,
    row_number() OVER (PARTITION BY p.phase ORDER BY p.start_ns, p.range_id) - 1 AS occurrence,
    p.kind, p.process_key, p.global_tid, p.start_ns, p.end_ns, p.is_closed,
    w.span_id IS NOT NULL AS is_warmup,
    q.span_id AS request_id,
    p.new_tokens
FROM phase AS p
ASOF LEFT JOIN macros.innermost_segments('attribute._warmup_spans') AS w
    ON w.lane = p.global_tid AND w.start_ns <= p.start_ns
ASOF LEFT JOIN macros.innermost_segments('attribute._request_spans') AS q
    ON q.lane = p.global_tid AND q.start_ns <= p.start_ns
ASOF LEFT JOIN macros.innermost_segments('attribute._strong_phase_spans') AS s
    ON s.lane = p.global_tid AND s.start_ns <= p.start_ns
ASOF LEFT JOIN (SELECT global_tid, start_ns FROM phase WHERE NOT is_container) AS inner_phase
    ON inner_phase.global_tid = p.global_tid AND inner_phase.start_ns >= p.start_ns
WHERE NOT (p.is_weak AND s.span_id IS NOT NULL)
    AND NOT (p.is_container AND inner_phase.start_ns IS NOT NULL AND inner_phase.start_ns <= p.end_ns)
