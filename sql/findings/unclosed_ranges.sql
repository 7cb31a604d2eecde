-- Ranges whose end was not recorded.
-- Grain: one row, none where every range was closed.
-- severity: warning
-- message: the end of {range_count:,} ranges was not recorded; they count up to the last event that was, and the wall times of
--   such phases may be too long or too short
-- hint: {advice}
-- concerns: attribute.phase_walls, views.phases, views.nvtx_ranges
-- requires: load.nvtx_ranges
-- columns:
--   phase       VARCHAR NULL: ranges that are no phase count, too.
--   at_stake_ns BIGINT  Time inside such ranges. Unit: ns.
--   range_count BIGINT  Such ranges.
--   advice      VARCHAR What to do about it.
SELECT
    NULL::VARCHAR AS phase, sum(end_ns - start_ns)::BIGINT AS at_stake_ns, count(*) AS range_count,
    CASE
        WHEN bool_and(kind = 'start_end')
            THEN 'nsys does not find the end of every start/end range that another thread ends: end them on their own thread, or push and pop them'
        ELSE 'nsys loses the last events of a process that is killed, stopped or forked: let the workload end by itself'
    END AS advice
FROM load.nvtx_ranges
WHERE NOT is_closed
HAVING count(*) > 0
