-- GPU work of a process that marks no phase, while another process does.
-- Grain: a process.
-- severity: warning
-- message: {share} launched by {process}, which has {lacks}; {others}: this work is in no phase
-- hint: {advice}
-- empty without: attribute._process_shares
-- requires: attribute._process_shares, attribute._inferred_phases, load.metadata
-- columns:
--   phase       VARCHAR NULL: it is in none.
--   at_stake_ns BIGINT  Sum of the durations of its GPU operations. Unit: ns.
--   share       VARCHAR How much of the GPU work it is, in words.
--   process     VARCHAR The process that launched it.
--   lacks       VARCHAR What it has not, in words.
--   others      VARCHAR Which processes have the phases, or the ranges, in words.
--   advice      VARCHAR What to do about it.
WITH marked AS (
    SELECT
        count(*) FILTER (phase_count > 0) AS with_phases,
        array_to_string(list("label" ORDER BY "label") FILTER (phase_count > 0)[:3], ', ')
            || CASE WHEN count(*) FILTER (phase_count > 0) > 3 THEN ', …' ELSE '' END AS phase_labels,
        array_to_string(list("label" ORDER BY "label") FILTER (range_count > 0)[:3], ', ')
            || CASE WHEN count(*) FILTER (range_count > 0) > 3 THEN ', …' ELSE '' END AS range_labels,
        sum(operation_count)::BIGINT AS operation_count
    FROM attribute._process_shares
),
forks AS (
    SELECT bool_or(lower(value) = 'true') AS are_traced
    FROM load.metadata
    WHERE source = 'capture' AND name LIKE '%TRACE_AFTER_FORK_BEFORE_EXEC'
)
SELECT
    NULL::VARCHAR AS phase, p.work_ns AS at_stake_ns,
    CASE
        WHEN p.operation_count = m.operation_count THEN format('all GPU work ({:,} operations) was', p.operation_count)
        ELSE format('{:,} of {:,} GPU operations were', p.operation_count, m.operation_count)
    END AS share,
    p."label" AS process,
    CASE
        WHEN EXISTS (FROM attribute._inferred_phases) THEN 'no phase that its launches tell'
        WHEN p.range_count = 0 THEN 'no range of its own'
        ELSE 'no range that is a phase'
    END AS lacks,
    CASE WHEN m.with_phases > 0 THEN 'the phases are in ' || m.phase_labels ELSE 'the ranges are in ' || m.range_labels END
        AS others,
    CASE
        WHEN EXISTS (FROM attribute._inferred_phases)
            THEN 'mark its phases with `nsys_pipeline.markers.phase`, or record with `llmperf capture`'
        WHEN p.range_count > 0
            THEN 'see `llmperf analyze --list-ranges`, then say with --phase NAME=REGEX which of its ranges are phases'
        WHEN p.lost_ranges
            THEN 'nsys may have lost the ranges of that process: record again, and let it end by itself'
        WHEN forks.are_traced
            THEN 'mark the phases in the process that launches; if it does and nsys lost its ranges, start it by spawn, not by '
            || 'fork (vLLM: VLLM_WORKER_MULTIPROC_METHOD=spawn), and let it end by itself'
        WHEN NOT forks.are_traced
            THEN 'mark the phases in the process that launches (engines: `llmperf capture --profile`); if it was forked without '
            || 'exec, nsys records its ranges only with `llmperf capture --trace-forks` (nsys: --trace-fork-before-exec=true)'
        ELSE 'mark the phases in the process that launches (engines: `llmperf capture --profile`); ranges of children that '
            || 'fork without exec are recorded only with `llmperf capture --trace-forks`'
    END AS advice
FROM attribute._process_shares AS p
CROSS JOIN marked AS m
CROSS JOIN forks
WHERE p.kernel_count > 0 AND p.phase_count = 0
    AND CASE WHEN m.with_phases > 0 THEN true ELSE p.range_count = 0 AND m.range_labels IS NOT NULL END
