-- Phases of a process without any GPU work, while other processes have both: its CUDA events were lost, or it works elsewhere.
-- Grain: a process.
-- severity: warning
-- message: {process} has {phase_count:,} phases and no GPU work, unlike {others}: its GPU times are not 0, but unknown
-- hint: {advice}
-- empty without: attribute._process_shares
-- requires: attribute._process_shares
-- columns:
--   phase       VARCHAR NULL: all phases of the process.
--   at_stake_ns BIGINT  NULL: that is what is missing. Unit: ns.
--   process     VARCHAR The process.
--   phase_count BIGINT  Occurrences of phases.
--   others      VARCHAR Processes that have phases and GPU work.
--   advice      VARCHAR What to do about it.
WITH working AS (
    SELECT
        array_to_string(list("label" ORDER BY "label")[:3], ', ') || CASE WHEN count(*) > 3 THEN ', …' ELSE '' END AS labels
    FROM attribute._process_shares
    WHERE phase_count > 0 AND operation_count > 0
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, p."label" AS process, p.phase_count, working.labels AS others,
    CASE
        WHEN p.lost_work THEN 'nsys may have lost its CUDA events: record again, and let it end by itself'
        ELSE 'if it used a GPU, nsys lost its CUDA events or another process launched its work: let it end by itself, and start '
            || 'such processes by spawn, not by fork'
    END AS advice
FROM attribute._process_shares AS p CROSS JOIN working
WHERE p.phase_count > 0 AND p.operation_count = 0 AND working.labels IS NOT NULL
