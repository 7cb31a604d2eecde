-- Two processes that work on GPUs and have one rank number, from two files: a trace that is there twice, two jobs in one
-- directory, or names that tell the rank on its host.
-- Grain: rank.
-- severity: warning
-- message: {count:,} traces are of rank {rank}: {files}; each counts{hosts}
-- hint: a directory is one job: leave out the trace that is there twice, or analyze each job by itself; for several hosts, name traces by RANK instead of LOCAL_RANK
-- concerns: views.ranks, views.phase_summary
-- empty without: load.ranks WHERE rank IS NOT NULL
-- requires: load.ranks
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: nobody knows which one is meant. Unit: ns.
--   rank        BIGINT  Its number.
--   count       BIGINT  Files that have it.
--   files       VARCHAR The names of the first three.
--   hosts       VARCHAR What it may mean if each is of another host, or ''.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, rank, count(DISTINCT "path") AS count,
    array_to_string(list_transform(list_sort(list(DISTINCT "path"))[:3], lambda p: '`' || parse_filename(p) || '`'), ', ') AS files,
    CASE
        WHEN count(DISTINCT host_id) = count(DISTINCT "path") THEN ', each on another host: the number may be that on its host (LOCAL_RANK)'
        ELSE ''
    END AS hosts
FROM load.ranks
WHERE rank IS NOT NULL AND len(device_ids) > 0
GROUP BY rank
HAVING count(DISTINCT "path") > 1
