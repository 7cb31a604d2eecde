-- Ranks on several hosts, whose clocks were compared by the ends of collectives.
-- Grain: one row, none where all ranks are on one host or nothing tells how far clocks are off.
-- severity: info
-- message: clocks of {hosts} are set by the ends of collectives to that of the first host; a time between hosts may be off by {error_ns:us}{moved}
-- hint: waiting and lateness that are not far above this are not measured; `llmperf sql TRACE "from ranks"` has it for each rank
-- concerns: attribute.collectives, views.ranks
-- empty without: load.ranks WHERE host_id > 0
-- requires: load.ranks, load.trace_files
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: it is about all of their time. Unit: ns.
--   hosts       VARCHAR How many other hosts.
--   error_ns    BIGINT  Largest of their errors. Unit: ns.
--   moved       VARCHAR By how much clocks were moved, if that is more than clocks of hosts that are synchronized differ; or ''.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    CASE count(DISTINCT host_id) WHEN 1 THEN 'another host' ELSE format('{:,} other hosts', count(DISTINCT host_id)) END AS hosts,
    max(clock_error_ns) AS error_ns,
    coalesce((
        SELECT format(
            '; they were moved by up to {:,.1f} ms: if the hosts agree better on the time, their ranks recorded other steps, and what '
            || 'is matched here did not meet', max(abs(moved_ns)) / 1e6
        )
        FROM load.trace_files
        WHERE host_id > 0 AND clock_error_ns IS NOT NULL AND abs(moved_ns) >= 50000000
        HAVING count(*) > 0
    ), '') AS moved
FROM load.ranks
WHERE host_id > 0 AND clock_error_ns IS NOT NULL
HAVING count(*) > 0
