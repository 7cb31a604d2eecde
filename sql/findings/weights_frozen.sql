-- A backward without the gradients of most weights: the FLOPs are those of training all of them. Losses that are fused with the head
-- look the same in models whose head is large: they compute its gradients in the forward.
-- Adapters have many products, and little time: both must say it. Products of a backward that lie elsewhere are another finding.
-- Grain: one row, none for a backward of all weights, or if somebody said which are trained.
-- severity: warning
-- message: matrix products of {phase} are {count_ratio:%} of those of forward, and take {time_ratio:%} of their time, where gradients of all
--   weights would take about 200 %: weights are frozen, or forward computes gradients, too (fused losses do). FLOPs of {phase} are those of all
-- hint: say which weights are trained (--train-only REGEX, --lora RANK); with a fused loss MFU of training steps is right, that of their parts not
-- concerns: estimate.occurrence_costs
-- empty without: estimate.backward_products
-- requires: estimate.backward_products
-- columns:
--   phase       VARCHAR 'backward'.
--   at_stake_ns BIGINT  Its GPU busy time. Unit: ns.
--   count_ratio DOUBLE  Products in a pass / those in a pass of the forward, without what is run again.
--   time_ratio  DOUBLE  The same of their time.
SELECT 'backward' AS phase, gpu_busy_ns AS at_stake_ns, count_ratio, time_ratio
FROM estimate.backward_products
WHERE flops_ratio > 1.8 AND count_ratio <= 1.8 AND time_ratio <= 1.4 AND NOT is_part_outside AND is_share_known
