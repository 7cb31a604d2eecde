-- Training steps in time: from the end of the step before, or of what evaluates in between, to the end of the optimizer. So
-- the time in which a step waits for its input is in it, and the steps of a rank add up to the time that it trains. The
-- last one ends when its last GPU work has ended. A step that is cold on one rank is cold on all. Time in which nothing was recorded, between two recordings, is in none.
-- Grain: lane, step.
-- materialize: table
-- empty without: attribute.training_passes
-- requires: attribute._training_step_times, attribute.training_passes, attribute.occurrences, input.measuring
-- columns:
--   lane           BIGINT   Whose steps they are: see attribute.training_passes.
--   process_key    BIGINT   Joins load.processes.
--   step           BIGINT   0, 1, 2, … in the lane.
--   micro_batches  BIGINT   Forward passes with a backward.
--   is_complete    BOOLEAN  Whether its forwards, its backwards and, if the lane has optimizers, its optimizer are there.
--   is_warmup      BOOLEAN  Whether one of its passes is inside warm-up.
--   is_cold        BOOLEAN  Whether one of its passes is cold, or it is one of the first and takes three times the median of the later ones.
--   is_left_cold   BOOLEAN  Whether it is left out for that: --keep-cold counts it.
--   is_measured    BOOLEAN  Whether it counts in what is measured of steps: complete, and neither warm-up nor left out as cold.
--   start_ns       BIGINT   Unit: ns.
--   end_ns         BIGINT   Unit: ns.
--   first_pass_ns  BIGINT   When its first pass begins. Unit: ns.
WITH cold AS (
    SELECT DISTINCT t.lane, t.step
    FROM attribute.training_passes AS t JOIN attribute.occurrences AS o USING (occurrence_id)
    WHERE o.is_cold AND t.step IS NOT NULL
),
judged AS (
    SELECT s.*, c.lane IS NOT NULL OR s.is_slow AS is_cold
    FROM attribute._training_step_times AS s LEFT JOIN cold AS c ON c.lane = s.lane AND c.step = s.step
)
SELECT
    s.lane, s.process_key, s.step, s.micro_batches, s.is_complete, s.is_warmup, s.is_cold,
    s.is_cold AND NOT m.keep_cold AS is_left_cold,
    s.is_complete AND NOT s.is_warmup AND NOT (s.is_cold AND NOT m.keep_cold) AS is_measured, s.start_ns, s.end_ns, s.first_pass_ns
FROM judged AS s CROSS JOIN input.measuring AS m
