-- One row per occurrence of a phase, with whether it is measured: outside warm-up and, unless --keep-cold counts them, not cold.
-- Grain: occurrence_id.
-- materialize: table
-- requires: attribute.phase_ranges, attribute.cold_occurrences, input.measuring
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   phase         VARCHAR  Name of the phase.
--   occurrence    BIGINT   0, 1, 2, … within the phase, by start.
--   process_key   BIGINT   Joins load.processes.
--   global_tid    BIGINT   Thread that opened it. Joins load.threads.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
--   wall_ns       BIGINT   Host time in it; in one that groups other phases, without theirs. Unit: ns.
--   is_closed     BOOLEAN  False where it was still open when the recording ended.
--   is_warmup     BOOLEAN  Whether a `warmup` range of its thread encloses it, or is it.
--   is_cold       BOOLEAN  Whether it is outside warm-up and far slower than steady ones.
--   is_left_cold  BOOLEAN  Whether it is left out for that.
--   is_measured   BOOLEAN  Whether it counts in what is measured.
--   request_id    BIGINT   Innermost `request` range of its thread around it. Joins load.nvtx_ranges, else NULL.
--   new_tokens    BIGINT   Tokens through the model as the range's own text states them, else NULL. Unit: tokens.
SELECT
    p.occurrence_id, p.phase, p.occurrence, p.process_key, p.global_tid, p.start_ns, p.end_ns, p.wall_ns, p.is_closed,
    p.is_warmup, c.occurrence_id IS NOT NULL AS is_cold, c.occurrence_id IS NOT NULL AND NOT m.keep_cold AS is_left_cold,
    NOT p.is_warmup AND NOT (c.occurrence_id IS NOT NULL AND NOT m.keep_cold) AS is_measured,
    p.request_id, p.new_tokens
FROM attribute.phase_ranges AS p
CROSS JOIN input.measuring AS m
LEFT JOIN attribute.cold_occurrences AS c USING (occurrence_id)
