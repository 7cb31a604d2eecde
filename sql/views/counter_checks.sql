-- What the estimate of each phase needs beside what the hardware counters saw, per GPU busy time.
-- Grain: phase, counter; empty without a model and shapes, or without `--gpu-metrics`.
-- empty without: load.counter_samples
-- requires: estimate.counter_checks
-- columns:
--   phase           VARCHAR  Name of the phase.
--   counter         VARCHAR  'tensor' or 'dram'.
--   measured_ratio  DOUBLE   Share of the busy time in which the tensor pipe is active, or of peak bandwidth that is read and
--                            written.
--   error_ratio     DOUBLE   How far that may be off, up or down, because nsys rounds samples.
--   estimated_ratio DOUBLE   What the estimate needs at least: MFU of busy time by what the measured clock allows, or MBU.
--   executed_ratio  DOUBLE   The same with a full attention mask.
--   limit           VARCHAR  'compute' or 'memory': which of the two takes longer at peak.
--   busy_ns         BIGINT   GPU busy time that samples cover. Unit: ns.
--   tokens_per_pass DOUBLE   Mean of tokens that go through the model in a pass.
SELECT phase, counter, measured_ratio, error_ratio, estimated_ratio, executed_ratio, "limit", busy_ns, tokens_per_pass
FROM estimate.counter_checks
