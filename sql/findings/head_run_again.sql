-- Training with cut cross entropy (Apple's, which Unsloth takes, too): its backward computes the logits again, in the kernel that makes
-- the gradients of the head, and skips blocks of logits whose gradients are too small to count.
-- Grain: phase.
-- severity: warning
-- message: the loss of {phase} (cut cross entropy) computes the logits again and skips gradients that are too small: HFU is without the
--   logits that are run again, and MFU counts all gradients of the head
-- hint: the logits are 2 * tokens * hidden size * vocabulary FLOPs a step, and the gradients of the head twice that
-- concerns: estimate.training_steps, estimate.occurrence_costs
-- empty without: load.strings WHERE value = '_cce_backward_kernel'
-- requires: attribute.phase_kernels
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Time of that kernel on the GPU, warm-up and cold passes left out. Unit: ns.
SELECT phase, sum(time_ns)::BIGINT AS at_stake_ns
FROM attribute.phase_kernels
WHERE name = '_cce_backward_kernel' AND phase IS NOT NULL
GROUP BY phase
