-- One row per occurrence of a phase: a range that a rule (or the marker contract) says is a phase.
-- A range that only groups other phases is one if such ranges have GPU work of their own: a `step` around `forward` and
-- `backward` has the rest of the step.
-- Grain: occurrence_id.
-- materialize: table
-- requires: attribute._marked_phases, attribute._host_intervals, attribute.work_by_occurrence
-- columns:
--   occurrence_id BIGINT   The range. Joins load.nvtx_ranges on range_id.
--   phase         VARCHAR  'prefill', 'decode', or the name that the rule gives.
--   occurrence    BIGINT   0, 1, 2, … within the phase, by start.
--   kind          VARCHAR  'push_pop' or 'start_end'.
--   process_key   BIGINT   Joins load.processes.
--   global_tid    BIGINT   Thread that opened it. Joins load.threads.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
--   wall_ns       BIGINT   Host time in it; in one that groups other phases, without theirs. Unit: ns.
--   is_closed     BOOLEAN  False where it was still open when the recording ended.
--   is_warmup     BOOLEAN  Whether a `warmup` range of its thread encloses it, or is it.
--   is_container  BOOLEAN  Whether it only groups other phases, and has the rest of their work alone.
--   request_id    BIGINT   Innermost `request` range of its thread around it. Joins load.nvtx_ranges, else NULL.
--   new_tokens    BIGINT   Tokens through the model as the range's own text states them, else NULL. Unit: tokens.
WITH idle AS (
    SELECT m.phase
    FROM attribute._marked_phases AS m
    LEFT JOIN attribute.work_by_occurrence AS w USING (occurrence_id)
    WHERE m.is_container
    GROUP BY m.phase
    HAVING count(w.occurrence_id) = 0
),
host AS (
    SELECT occurrence_id, sum(end_ns - start_ns)::BIGINT AS wall_ns FROM attribute._host_intervals GROUP BY occurrence_id
)
SELECT
    p.occurrence_id, p.phase,
    row_number() OVER (PARTITION BY p.phase ORDER BY p.start_ns, p.occurrence_id) - 1 AS occurrence,
    p.kind, p.process_key, p.global_tid, p.start_ns, p.end_ns,
    coalesce(host.wall_ns, 0) AS wall_ns, p.is_closed, p.is_warmup, p.is_container, p.request_id, p.new_tokens
FROM attribute._marked_phases AS p LEFT JOIN host USING (occurrence_id)
WHERE NOT (p.is_container AND p.phase IN (SELECT phase FROM idle))
