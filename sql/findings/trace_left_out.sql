-- Traces of the job that could not be read, or that hold what another one holds.
-- Grain: a file.
-- severity: error
-- message: the trace of {what} is left out: {problem}
-- hint: what the other ranks say holds, and sums over ranks lack this one; put its own trace there, exported again from its report
-- concerns: load.gpu_ops
-- requires: load.trace_files
-- columns:
--   phase       VARCHAR NULL: it has no phases.
--   at_stake_ns BIGINT  NULL: nobody knows what was in it. Unit: ns.
--   what        VARCHAR Its rank, or its path.
--   problem     VARCHAR Why.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, coalesce('rank ' || rank, "path") AS what, problem
FROM load.trace_files
WHERE problem IS NOT NULL
