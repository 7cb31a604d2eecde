-- Ranges, operators and calls of a trace of torch.profiler without times, as it writes them after some millions of events.
-- Grain: one row, none where all have times.
-- severity: error
-- message: {event_count:,} ranges, operators and CUDA calls were recorded without their times, as from 0 to 0: they are left out, and
--   what the calls launched is in no phase
-- hint: record again, for fewer steps; --to cuts away what follows the last step that is whole
-- concerns: load.gpu_ops
-- empty without: load.metadata WHERE starts_with(name, 'torch_profiler:')
-- requires: load.metadata
-- columns:
--   phase       VARCHAR NULL: nobody knows which phases they are of.
--   at_stake_ns BIGINT  NULL: that is what was not recorded. Unit: ns.
--   event_count BIGINT  Such events.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, try_cast(value AS BIGINT) AS event_count
FROM load.metadata
WHERE source = 'capture' AND name = 'torch_profiler:untimed_host_events' AND try_cast(value AS BIGINT) > 0
