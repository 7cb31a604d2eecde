-- Traces in which SGLang checks guesses: its draft model goes over each prompt, too, in a range that says the same as the model's own.
-- Grain: one row, none where no guess is checked or no prompt is marked so.
-- severity: warning
-- message: SGLang checks guesses here, and its draft model's passes over prompts are marked like the model's own: prefill may have both, and
--   its FLOPs and MFU those of twice the prompts
-- hint: `llmperf capture --auto` marks the model's own passes; --not-phase '^step.EXTEND' leaves prompts out
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- requires: input.range_roles
-- columns:
--   phase       VARCHAR 'prefill'.
--   at_stake_ns BIGINT  NULL: nothing says which passes are the draft's. Unit: ns.
SELECT 'prefill' AS phase, NULL::BIGINT AS at_stake_ns
FROM input.range_roles
HAVING bool_or(rule = 'sglang-verify') AND bool_or(rule = 'sglang-extend')
