-- Ranks that communicate inside their passes, each charged the whole model: doubtful.
-- Grain: one row, none if somebody says how the model is spread, or if nothing is charged.
-- severity: error
-- message: {rank_count:,} ranks communicate inside their passes, and each is charged the whole model
-- hint: if they share one model, pass --tp: FLOPs and MFU are too high by that factor
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- requires: input.model, attribute.phase_devices, views.kernel_summary, estimate.phase_costs
-- columns:
--   phase       VARCHAR NULL: it is about prefill and decode.
--   at_stake_ns BIGINT  Kernel time of the communication. Unit: ns.
--   rank_count  BIGINT  Pairs of a process and a GPU that it used in a phase.
SELECT
    NULL::VARCHAR AS phase, sum(k.time_ns)::BIGINT AS at_stake_ns,
    (SELECT count(*) FROM (SELECT DISTINCT process_key, device_id FROM attribute.phase_devices)) AS rank_count
FROM views.kernel_summary AS k CROSS JOIN input.model AS m
WHERE k.family = 'communication' AND k.phase IN ('prefill', 'decode') AND m.tp * m.pp = 1
    AND (SELECT count(*) FROM (SELECT DISTINCT process_key, device_id FROM attribute.phase_devices)) > 1
    AND (SELECT count(flops) FROM estimate.phase_costs) > 0
HAVING count(*) > 0
