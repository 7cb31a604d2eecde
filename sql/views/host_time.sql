-- Lines of Python in which the launching threads spent the GPUs' idle time, by samples of their stacks.
-- Times are estimates: the share of the phase's samples, times what the budget has of that part.
-- Grain: phase, part, function, file, line. Warm-up is left out.
-- empty without: attribute.host_places
-- requires: attribute.host_places
-- columns:
--   phase         VARCHAR Phase as in time_budget, NULL outside every phase.
--   part          VARCHAR As in host_samples: the class of time_budget, or 'busy'. 'cold': cold occurrences, whatever the GPUs did.
--   function      VARCHAR A function on the stack.
--   file          VARCHAR Its file.
--   line          BIGINT  The line that it is at.
--   self_samples  BIGINT  Samples in which it ran itself.
--   samples       BIGINT  Samples in which it was on the stack.
--   self_ns       BIGINT  Estimated time in which it ran itself, NULL for 'busy'. Unit: ns.
--   self_error_ns BIGINT  Standard error of self_ns that comes from the number of samples, n, k of which have it: the deviation
--                         of a share of which nothing was known before, √(p (1 - p) / (n + 3)) with p = (k + 1) / (n + 2), times
--                         what the budget has. Unit: ns.
--   time_ns       BIGINT  Estimated time in which it was on the stack. Unit: ns.
--   time_error_ns BIGINT  The same error of time_ns. Unit: ns.
SELECT phase, part, function, file, line, self_samples, samples, self_ns, self_error_ns, time_ns, time_error_ns
FROM attribute.host_places
WHERE is_line
