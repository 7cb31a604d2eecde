-- Inference of a model that nobody named.
-- Grain: one row, none with a model or without prefill and decode.
-- severity: warning
-- message: the trace does not say which model it ran, so there is no FLOP count, no MFU and no MBU
-- hint: pass {what}
-- requires: attribute.phase_walls, input.model, input.step_sizes, load.nvtx_marks
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  Wall time of prefill and decode. Unit: ns.
--   what        VARCHAR The options to pass: a shape only where the steps do not say their own, as those of engines do; why, where steps are marked and no run.
SELECT
    NULL::VARCHAR AS phase, sum(wall_ns)::BIGINT AS at_stake_ns,
    CASE
        WHEN EXISTS (FROM load.nvtx_marks WHERE starts_with("text", 'llmperf.step ')) AND NOT EXISTS (FROM load.nvtx_marks WHERE starts_with("text", 'llmperf.run '))
            THEN '--model alone, as in --model llama-3.2-1b: what marks the model may have come before the recording began'
        WHEN EXISTS (FROM input.step_sizes) THEN '--model alone, as in --model llama-3.2-1b: the steps say their own shapes'
        ELSE '--model and the request shape, as in --model llama-3.2-1b --shape 8x512+32'
    END AS what
FROM attribute.phase_walls
WHERE phase IN ('prefill', 'decode') AND NOT EXISTS (FROM input.model)
HAVING count(*) > 0
