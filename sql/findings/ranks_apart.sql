-- Traces of ranks whose GPU work shares no time with that of the others: they are of other runs, and no job has them all.
-- Algorithm: spans of GPU work in order; a group ends where the next span begins after all before it have ended. Clocks of other hosts
-- may be off by a minute, if nothing says by how much.
-- Grain: one row, none if there is one group.
-- severity: warning
-- message: the GPU work of {what} begins {gap_ns:ms} after that of all ranks before it has ended: these traces were not recorded together,
--   or their clocks differ
-- hint: a directory is one job, and its sums, waits and lateness are those of ranks that ran at the same time: analyze each run by itself
-- concerns: views.ranks, views.phase_summary, attribute.collectives
-- empty without: load.ranks WHERE rank IS NOT NULL
-- requires: load.ranks
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: it is about all of their time. Unit: ns.
--   what        VARCHAR The first rank after the widest gap, with its file.
--   gap_ns      BIGINT  Length of that gap. Unit: ns.
WITH file AS (
    SELECT
        any_value(rank) AS rank, "path", min(first_start_ns) AS first_ns, max(last_end_ns) AS last_ns,
        CASE WHEN bool_or(clock_error_ns IS NULL) THEN 60_000_000_000 ELSE 0 END AS slack_ns
    FROM load.ranks
    WHERE rank IS NOT NULL AND first_start_ns IS NOT NULL
    GROUP BY "path"
),
gap AS (
    SELECT *, first_ns - max(last_ns) OVER (ORDER BY first_ns, rank, "path" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS gap_ns
    FROM file
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, format('rank {} (`{}`)', rank, parse_filename("path")) AS what, gap_ns
FROM gap
WHERE gap_ns > slack_ns
ORDER BY gap_ns DESC, rank, "path"
LIMIT 1
