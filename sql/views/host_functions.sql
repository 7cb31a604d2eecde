-- Functions of Python in which the launching threads spent the GPUs' idle time: the lines of host_time, function by function.
-- Python says no more than a function's name and file: methods of one name in one file are one row.
-- Grain: phase, part, function, file. Warm-up is left out.
-- empty without: attribute.host_places
-- requires: attribute.host_places
-- columns:
--   phase         VARCHAR Phase as in time_budget, NULL outside every phase.
--   part          VARCHAR As in host_time.
--   function      VARCHAR A function on the stack.
--   file          VARCHAR Its file.
--   line          BIGINT  The line that ran itself most often, NULL if none did.
--   self_samples  BIGINT  Samples in which it ran itself.
--   samples       BIGINT  Samples in which it was on the stack.
--   share_ratio   DOUBLE  Share of the samples of the phase and part in which it ran itself.
--   self_ns       BIGINT  Estimated time in which it ran itself, NULL for 'busy'. Unit: ns.
--   self_error_ns BIGINT  Standard error of self_ns that comes from the number of samples. Unit: ns.
--   time_ns       BIGINT  Estimated time in which it was on the stack, in what it called too. Unit: ns.
--   time_error_ns BIGINT  Standard error of time_ns. Unit: ns.
SELECT
    phase, part, function, file, line, self_samples, samples, self_samples / all_samples AS share_ratio, self_ns, self_error_ns,
    time_ns, time_error_ns
FROM attribute.host_places
WHERE NOT is_line
