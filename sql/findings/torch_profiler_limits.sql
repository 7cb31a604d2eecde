-- What a trace of torch.profiler leaves out that one of nsys has.
-- Grain: one row, none if nsys recorded the trace.
-- severity: info
-- message: torch.profiler recorded the trace: of CUDA's driver calls it has launches and memory mapping alone, and time in those
--   that it leaves out counts as host time{more}
-- empty without: load.recorder WHERE recorder = 'torch.profiler'
-- requires: load.recorder, load.metadata
-- columns:
--   phase       VARCHAR NULL: it is about the whole trace.
--   at_stake_ns BIGINT  NULL: nobody can tell. Unit: ns.
--   more        VARCHAR What else was left out or repaired, each after a semicolon; '' if nothing was.
WITH said AS (
    SELECT
        max(try_cast(value AS BIGINT)) FILTER (WHERE name = 'torch_profiler:operators') AS operators,
        max(value) FILTER (WHERE name = 'torch_profiler:record_shapes') = '1' AS has_shapes,
        max(value) FILTER (WHERE name = 'torch_profiler:with_stack') = '1' AS has_stacks,
        max(try_cast(value AS BIGINT)) FILTER (WHERE name = 'torch_profiler:python_functions') AS python_functions,
        max(try_cast(value AS BIGINT)) FILTER (WHERE name = 'torch_profiler:repaired_names') AS repaired_names,
        max(try_cast(value AS BIGINT)) FILTER (WHERE name = 'torch_profiler:is_tail_damaged') AS is_tail_damaged
    FROM load.metadata
    WHERE source = 'capture'
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    concat(
        CASE
            WHEN operators > 0 THEN format('; noting its {:,} operators', operators)
                || CASE
                    WHEN has_shapes AND has_stacks THEN ', their shapes and their stacks'
                    WHEN has_shapes THEN ' and their shapes'
                    WHEN has_stacks THEN ' and their stacks'
                    ELSE ''
                END || ' took host time, too: without the profiler steps that wait for the host are shorter'
        END,
        CASE WHEN python_functions > 0 THEN format('; its {:,} Python calls are not read', python_functions) END,
        CASE WHEN repaired_names > 0 THEN format('; {:,} names with quotes in them were no JSON and were mended', repaired_names) END,
        CASE WHEN is_tail_damaged > 0 THEN '; what follows the events is no JSON and is not read' END
    ) AS more
FROM said
WHERE (SELECT recorder FROM load.recorder) = 'torch.profiler'
