-- Steps of generation that attend to a beginning which their sequences share (cascade attention): kernels merge what they find there with
-- what each sequence has of its own. vLLM's and FlashInfer's names; FlashInfer's VariableLengthMergeStates merges parts of one sequence.
-- Grain: phase.
-- severity: warning
-- message: in {phase} {kernel_count:,} kernels (`{name}`) merge attention, as where sequences share a prefix that is read once: each
--   sequence is charged all of its own keys and values, so that KV bytes, MBU and the speed of light may be too high
-- hint: --disable-cascade-attn of vLLM shows what the steps take without it
-- concerns: estimate.occurrence_costs, input.shape_costs, input.shape_device_costs
-- empty without: attribute.phase_kernels WHERE regexp_matches(name, 'merge_attn_states|MergeState')
-- requires: attribute.phase_kernels, estimate.phase_costs
-- columns:
--   phase        VARCHAR The phase.
--   at_stake_ns  BIGINT  NULL: nothing says how long the prefix is. Unit: ns.
--   kernel_count BIGINT  Such kernels.
--   name         VARCHAR The name of most of them.
SELECT
    k.phase, NULL::BIGINT AS at_stake_ns, sum(k."count")::BIGINT AS kernel_count, arg_max(k.name, (k."count", k.name)) AS name
FROM attribute.phase_kernels AS k
JOIN estimate.phase_costs AS c ON c.phase = k.phase AND c.bytes IS NOT NULL
WHERE k.phase IN ('decode', 'verify') AND regexp_matches(k.name, 'merge_attn_states|(?:^|[^h])MergeState')
GROUP BY k.phase
