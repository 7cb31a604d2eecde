-- NVTX ranges, each with its text and domain resolved.
-- A push whose pop was not recorded ends with the innermost recorded range of its thread and domain around its start,
-- because popping that one popped it too; else, like a start/end range that was never ended, with the recording.
-- nsys 2024.2 gives the moment in which it stopped as the end of what was open then. That may be long after the last event
-- that a killed process could hand over, so such a range ends with the last recorded event of its process instead. Where nsys
-- did not note that moment, but that it may have lost ranges, it is known by an end after the recording's.
-- In a directory with a trace for each rank, a rank that died ends with its own last event, not with the others.
-- Grain: range_id.
-- materialize: table
-- requires: nsys.NVTX_EVENTS, nsys.CUPTI_ACTIVITY_KIND_RUNTIME, nsys.ANALYSIS_DETAILS, load.diagnostics, load.strings, load.session, load.trace_files
-- columns:
--   range_id       BIGINT   Row of the export.
--   kind           VARCHAR  'push_pop' or 'start_end'.
--   process_key    BIGINT   Joins load.processes.
--   global_tid     BIGINT   Thread that opened it. Joins load.threads.
--   end_global_tid BIGINT   Thread that closed it, where that is another one.
--   domain_id      BIGINT   Number of its domain in its process, 0 for the default domain.
--   domain         VARCHAR  Name of its domain, '' for the default domain.
--   name           VARCHAR  Its text, '' where it has none.
--   start_ns       BIGINT   When it was opened. Unit: ns.
--   end_ns         BIGINT   When it was closed, see above. Unit: ns.
--   is_closed      BOOLEAN  Whether its own end was recorded.
WITH job AS (
    SELECT count(DISTINCT file_id) > 1 AS has_files FROM load.trace_files
),
stop AS (
    SELECT
        max(at_ns) FILTER (WHERE message = 'Profiling has stopped.') AS at_ns,
        CASE
            WHEN NOT bool_or(message = 'Profiling has stopped.')
                AND bool_or(message = 'Not all NVTX events might have been collected.')
                THEN (SELECT max(duration) FROM nsys.ANALYSIS_DETAILS WHERE duration > 0)
        END AS before_ns
    FROM load.diagnostics
),
event AS (
    SELECT
        e.* REPLACE (CASE WHEN NOT e.is_cut THEN e."end" END AS "end"), coalesce(s.value, e."text", '') AS name,
        e.globalTid >> 24 AS process_key
    FROM (
        SELECT *, coalesce("end" = at_ns OR ("start" < before_ns AND "end" > before_ns), false) AS is_cut
        FROM nsys.NVTX_EVENTS CROSS JOIN stop
    ) AS e
    LEFT JOIN load.strings AS s ON s.string_id = e.textId
),
last AS (
    SELECT globalTid >> 24 AS process_key, greatest(max("start"), max("end")) AS at_ns
    FROM (
        SELECT globalTid, "start", "end" FROM event
        UNION ALL SELECT globalTid, "start", "end" FROM nsys.CUPTI_ACTIVITY_KIND_RUNTIME
    )
    WHERE globalTid >> 24 IN (SELECT process_key FROM event CROSS JOIN job WHERE is_cut OR (has_files AND "end" IS NULL AND eventType IN (59, 60, 70, 71)))
    GROUP BY ALL
),
domain AS (
    SELECT process_key, domainId, arg_max(name, row_id) AS domain FROM event WHERE eventType = 75 GROUP BY ALL
),
enclosed AS (
    SELECT u.row_id, arg_max(c."end", (c."start", c."end")) AS end_ns
    FROM event AS u
    JOIN event AS c
        ON c.globalTid = u.globalTid AND coalesce(c.domainId, 0) = coalesce(u.domainId, 0)
        AND c."start" <= u."start" AND u."start" < c."end"
    WHERE u."end" IS NULL AND u.eventType IN (59, 70) AND c.eventType IN (59, 70)
    GROUP BY u.row_id
)
SELECT
    event.row_id AS range_id,
    CASE WHEN eventType IN (59, 70) THEN 'push_pop' ELSE 'start_end' END AS kind,
    event.process_key, globalTid AS global_tid, endGlobalTid AS end_global_tid,
    coalesce(event.domainId, 0) AS domain_id,
    coalesce(domain.domain, CASE WHEN coalesce(event.domainId, 0) = 0 THEN '' ELSE 'domain ' || event.domainId END)
        AS domain,
    event.name,
    "start" AS start_ns,
    greatest(
        "start", coalesce("end", enclosed.end_ns, CASE WHEN is_cut OR job.has_files THEN last.at_ns END, (SELECT last_ns FROM load.session))
    ) AS end_ns,
    "end" IS NOT NULL AS is_closed
FROM event
CROSS JOIN job
LEFT JOIN domain ON domain.process_key = event.process_key AND domain.domainId = event.domainId
LEFT JOIN enclosed ON enclosed.row_id = event.row_id
LEFT JOIN last ON last.process_key = event.process_key
WHERE eventType IN (59, 60, 70, 71) AND "start" IS NOT NULL AND globalTid IS NOT NULL
