-- A trace of torch.profiler whose times are whole microseconds.
-- Grain: one row, none if times have a fraction, or nsys recorded the trace.
-- severity: warning
-- message: all times of the trace are whole microseconds, as older torch writes them: each may be off by one, which is
--   much of a short kernel's
-- hint: record with a newer torch, or with `llmperf capture`
-- concerns: load.gpu_ops
-- empty without: load.recorder WHERE recorder = 'torch.profiler'
-- requires: load.recorder, load.metadata
-- columns:
--   phase       VARCHAR NULL: it is about the whole trace.
--   at_stake_ns BIGINT  NULL: nobody can tell. Unit: ns.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns
FROM load.metadata
WHERE source = 'capture' AND name = 'torch_profiler:has_whole_microseconds' AND value = '1'
    AND (SELECT recorder FROM load.recorder) = 'torch.profiler'
