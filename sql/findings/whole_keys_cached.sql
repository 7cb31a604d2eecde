-- Latent attention whose cache holds whole keys and values, as llama.cpp keeps them of older files: its bytes are counted as latents.
-- Its attention kernels name both sizes of a head: 192 and 128 of DeepSeek's models are those of whole keys and values, 576 and 512 of latents.
-- Grain: phase.
-- severity: error
-- message: the names of the kernels say that the KV cache of {phase} holds whole keys and values, but its bytes are counted as latents: bytes and
--   MBU are too low
-- hint: `llmperf flops MODEL --mla cached` counts such a cache
-- concerns: estimate.occurrence_costs, input.shape_ops
-- empty without: input.shape_ops WHERE name = 'kv_a'
-- requires: attribute.phase_kernels, estimate.phase_costs, input.shape_ops
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time. Unit: ns.
SELECT c.phase, c.gpu_busy_ns AS at_stake_ns
FROM estimate.phase_costs AS c
WHERE c.bytes IS NOT NULL AND EXISTS (FROM input.shape_ops WHERE name = 'kv_a') AND EXISTS (
    FROM attribute.phase_kernels AS k
    WHERE k.phase = c.phase AND regexp_matches(k.full_name, 'flash_attn_\w*<(\(int\))?192, *(\(int\))?128\b')
)
