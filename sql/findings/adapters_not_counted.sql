-- Steps of an engine in which requests run through LoRA adapters.
-- Grain: one row, none without such steps.
-- severity: warning
-- message: {sequence_count:,} sequences in {step_count:,} steps run through LoRA adapters: FLOPs and bytes are those of the model without
--   them
-- hint: adapters of rank r add 2 * r * (inputs + outputs) FLOPs for each token and product that they change
-- empty without: attribute._step_marks
-- requires: attribute._step_marks
-- columns:
--   phase          VARCHAR NULL: all of them.
--   at_stake_ns    BIGINT  NULL: no time is at stake. Unit: ns.
--   sequence_count BIGINT  Sequences, summed over steps.
--   step_count     BIGINT  Steps.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, sum(adapters)::BIGINT AS sequence_count, count(*) AS step_count
FROM (SELECT TRY_CAST(json_extract(step, '$.adapters') AS BIGINT) AS adapters FROM attribute._step_marks)
WHERE adapters > 0
HAVING count(*) > 0
