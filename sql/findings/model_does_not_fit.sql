-- A model whose number of layers is not that of the passes in the trace: its FLOPs are those of another model.
-- Grain: one row, none if one phase fits or cannot tell.
-- severity: error
-- message: {model} has {attention:,} attention operations and {products} matrix products in a pass, but a pass of {phase} runs
--   {attention_kernels:,} attention kernels and {product_kernels:,} matrix products: it is another
--   model, and FLOPs, MFU and MBU are left out
-- hint: pass the --model that ran; its config must have the layers that the trace shows (--pp N if they ran in stages; layers that the CPU
--   computes are in no count)
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: estimate.other_models
-- requires: estimate.other_models, estimate.phase_costs
-- columns:
--   phase             VARCHAR The phase whose kernels are told.
--   at_stake_ns       BIGINT  GPU busy time of all phases with FLOPs. Unit: ns.
--   model             VARCHAR Name of the model.
--   attention         BIGINT  Attention operations in a pass of it.
--   products          VARCHAR Matrix products in a pass of it: with everything fused to with nothing fused; with experts, no most.
--   attention_kernels BIGINT  Attention kernels in a pass of the phase.
--   product_kernels   BIGINT  Matrix products in a pass of the phase.
SELECT
    phase, (SELECT sum(gpu_busy_ns)::BIGINT FROM estimate.phase_costs) AS at_stake_ns, model, attention, products, attention_kernels,
    product_kernels
FROM estimate.other_models
