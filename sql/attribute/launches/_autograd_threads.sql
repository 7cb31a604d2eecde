-- Threads that run the backward pass of PyTorch, by their names or by ranges of autograd or of passes that it runs again:
-- what they launch is of the phase that waits for it, whatever ranges lie around it.
-- Grain: global_tid.
-- materialize: table
-- requires: attribute._outside_launches, attribute._recomputing_threads, load.threads, load.nvtx_ranges, load.range_names, input.library_ranges
-- columns:
--   global_tid BIGINT  Joins load.threads.
SELECT global_tid FROM load.threads WHERE starts_with(name, 'pt_autograd')
UNION
SELECT global_tid FROM attribute._recomputing_threads
UNION
SELECT r.global_tid
FROM load.nvtx_ranges AS r
JOIN load.range_names AS n ON n.domain = r.domain AND n.name = r.name
JOIN input.library_ranges AS l ON l.domain = n.domain AND l.pattern = n.pattern
WHERE l.role = 'autograd' AND r.global_tid IN (SELECT global_tid FROM attribute._outside_launches WHERE other_id IS NOT NULL)
