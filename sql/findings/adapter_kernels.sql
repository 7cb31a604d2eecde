-- Kernels of LoRA adapters in phases with an estimate, where no step mark says which sequences run through adapters.
-- Grain: phase.
-- severity: warning
-- message: in {phase} {kernel_count:,} kernels (`{name}`) multiply with LoRA adapters: FLOPs and bytes are those of the model without them
-- hint: adapters of rank r add 2 * r * (inputs + outputs) FLOPs for each token and product that they change
-- concerns: estimate.occurrence_costs
-- empty without: attribute.phase_kernels WHERE regexp_matches(name, '(?i)lora_(?:shrink|expand|kernel)|[sb]gmv')
-- requires: attribute.phase_kernels, estimate.phase_costs, attribute._step_marks
-- columns:
--   phase        VARCHAR The phase.
--   at_stake_ns  BIGINT  Their time. Unit: ns.
--   kernel_count BIGINT  Such kernels.
--   name         VARCHAR The name of most of them.
SELECT
    k.phase, sum(k.time_ns)::BIGINT AS at_stake_ns, sum(k."count")::BIGINT AS kernel_count, arg_max(k.name, (k."count", k.name)) AS name
FROM attribute.phase_kernels AS k
JOIN estimate.phase_costs AS c ON c.phase = k.phase AND coalesce(c.flops, c.flops_min) IS NOT NULL
WHERE regexp_matches(k.name, '(?i)lora_(?:shrink|expand|kernel)|[sb]gmv')
    AND NOT EXISTS (FROM attribute._step_marks WHERE TRY_CAST(json_extract(step, '$.adapters') AS BIGINT) > 0)
GROUP BY k.phase
