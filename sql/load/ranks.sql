-- Ranks of the job: processes with GPU work or a run mark, with the rank that the mark, else the name of the file, says. Ranks of a
-- data-parallel replica are numbered from 0 by its mark: where names say the replica, they say the rank.
-- Grain: process_key.
-- materialize: table
-- requires: load.gpu_ops, load.nvtx_marks, load.trace_files, macros.is_timed
-- columns:
--   process_key    BIGINT    Joins load.processes.
--   rank           BIGINT    Rank, NULL where nothing says.
--   world          BIGINT    Ranks of the job as the run mark says, else NULL.
--   replica        BIGINT    Data-parallel replica, as the run mark says it, its degrees tell or the name of the file says, else NULL.
--   host_id        BIGINT    Host: 0 is the first one.
--   device_ids     BIGINT[]  GPUs that it works on. Join load.devices.
--   first_start_ns BIGINT    Start of its first GPU operation that has times; NULL without one. Unit: ns.
--   last_end_ns    BIGINT    End of its last one. Unit: ns.
--   path           VARCHAR   File that it is read from.
--   clock_error_ns BIGINT    How far its times may be off the first file's. Unit: ns.
WITH working AS (
    SELECT
        process_key, list_sort(list(DISTINCT device_id)) AS device_ids,
        -- Work without times, from 0 to 0, is not where the others are.
        min(start_ns) FILTER (WHERE macros.is_timed(start_ns, end_ns)) AS first_start_ns,
        max(end_ns) FILTER (WHERE macros.is_timed(start_ns, end_ns)) AS last_end_ns
    FROM load.gpu_ops
    WHERE process_key IS NOT NULL
    GROUP BY process_key
),
mark AS (
    SELECT process_key, arg_min(fields, at_ns) AS fields
    FROM (
        SELECT process_key, at_ns, try_cast(substr("text", length('llmperf.run ') + 1) AS JSON) AS fields
        FROM load.nvtx_marks
        WHERE starts_with("text", 'llmperf.run ')
    )
    WHERE fields IS NOT NULL
    GROUP BY process_key
),
file AS (
    SELECT process_key, any_value("path") AS "path", any_value(rank) AS rank, any_value(replica) AS replica, any_value(host_id) AS host_id,
        any_value(clock_error_ns) AS clock_error_ns
    FROM load.trace_files
    WHERE problem IS NULL
    GROUP BY process_key
)
SELECT
    process_key,
    CASE WHEN f.replica IS NULL THEN coalesce(try_cast(m.fields ->> '$.rank' AS BIGINT), f.rank) ELSE f.rank END AS rank,
    try_cast(m.fields ->> '$.world' AS BIGINT) AS world,
    coalesce(
        try_cast(m.fields ->> '$.dp_rank' AS BIGINT),
        CASE WHEN try_cast(m.fields ->> '$.dp' AS BIGINT) > 1 THEN coalesce(try_cast(m.fields ->> '$.rank' AS BIGINT), f.rank)
            // nullif(try_cast(m.fields ->> '$.tp' AS BIGINT) * coalesce(try_cast(m.fields ->> '$.pp' AS BIGINT), 1), 0) END,
        f.replica
    ) AS replica,
    coalesce(f.host_id, 0) AS host_id, coalesce(w.device_ids, []) AS device_ids, w.first_start_ns, w.last_end_ns,
    coalesce(f.path, (SELECT min("path") FROM load.trace_files)) AS "path",
    CASE WHEN f.process_key IS NULL THEN 0 ELSE f.clock_error_ns END AS clock_error_ns
FROM working AS w
FULL JOIN mark AS m USING (process_key)
LEFT JOIN file AS f USING (process_key)
