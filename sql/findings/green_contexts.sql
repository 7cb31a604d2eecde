-- Processes that divide a GPU into green contexts. The export does not say how many SMs each has.
-- Grain: one row, none where no process made one.
-- severity: warning
-- message: {context_count:,} green contexts were made, which have a part of a GPU's SMs; MFU, MBU and the speed of light are those of
--   the whole GPU
-- hint: --peak and --bandwidth of the part give those of work that runs in one alone
-- concerns: input.peaks, input.shape_device_costs
-- empty without: load.green_contexts
-- requires: load.green_contexts
-- columns:
--   phase         VARCHAR NULL: nothing says which phases run in them.
--   at_stake_ns   BIGINT  NULL: the same. Unit: ns.
--   context_count BIGINT  Green contexts.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(*) AS context_count
FROM load.green_contexts
HAVING count(*) > 0
