-- CUDA calls that a step should not need: they load code, allocate memory, or wait for the GPU. Warm-up and cold occurrences are left out.
-- One that loads or allocates counts for the phase whose work its thread launches next in the same measured time, as idle time of the GPU
-- does in the budget, be it between steps; without such work for the phase that is open. One that waits is that phase's.
-- Grain: api_id. `--cudabacktrace` records some calls twice: the second row is left out.
-- materialize: table
-- empty without: load.strings WHERE regexp_matches(value, '^(cu|hip).*(Load|Link)')
--   OR (regexp_matches(value, '^(cu|hip).*(Malloc|Free|Host|Mem|Synchronize)') AND NOT contains(value, 'Async'))
-- requires: load.api_calls, load.strings, attribute._phase_segments, attribute.occurrences, attribute.range_segments, attribute.gpu_work,
--   attribute.windows, macros.cuda_call, macros.next_launches
-- columns:
--   api_id        BIGINT  Joins load.api_calls.
--   what          VARCHAR 'loading' (modules, libraries, linking), 'allocating' (that is not ordered on a stream, freeing too) or
--                         'synchronizing'.
--   name          VARCHAR Name of the call, without the version that nsys appends.
--   occurrence_id BIGINT  The phase that it counts for. Joins attribute.phase_ranges. NULL in a trace without phases, and outside every phase.
--   around_id     BIGINT  The phase that is open on the thread. Joins attribute.phase_ranges, NULL for none.
--   range_id      BIGINT  Innermost range around it. Joins load.nvtx_ranges.
--   global_tid    BIGINT  Calling thread. Joins load.threads.
--   start_ns      BIGINT  Entry. Unit: ns.
--   end_ns        BIGINT  Return. Unit: ns.
WITH kind AS (
    SELECT
        string_id AS name_id, regexp_replace(own_name, '_v\d+$', '') AS name,
        CASE
            WHEN regexp_matches(value, '^cu(da)?(ModuleLoad|LibraryLoad|Link(Create|Add|Complete))') THEN 'loading'
            WHEN contains(value, 'Async') THEN NULL
            WHEN regexp_matches(value, '^cuda(Malloc|Free|HostAlloc|HostRegister|HostUnregister)|^cuMem(Alloc|Free|HostAlloc|HostRegister|Create|Map|Unmap|Release|SetAccess|AddressReserve)')
                THEN 'allocating'
            WHEN regexp_matches(value, '^cu.*Synchronize|^cu(da)?Memcpy') THEN 'synchronizing'
        END AS what
    FROM (
        SELECT string_id, value AS own_name, macros.cuda_call(value) AS value FROM load.strings
        WHERE starts_with(value, 'cu') OR starts_with(value, 'hip')
    )
),
call AS (
    SELECT
        min(c.api_id) AS api_id, k.what, k.name, c.global_tid, c.start_ns, max(c.end_ns) AS end_ns
    FROM load.api_calls AS c JOIN kind AS k USING (name_id)
    WHERE k.what IS NOT NULL
    GROUP BY k.what, k.name, c.global_tid, c.start_ns, c.correlation_id
),
whole AS (
    SELECT min(start_ns) AS start_ns, max(end_ns) AS end_ns
    FROM attribute.windows
    WHERE (SELECT count(*) FROM attribute.occurrences) = 0
),
placed AS (
    SELECT c.*, p.occurrence_id AS around_id, coalesce(p.is_measured, true) AS is_measured
    FROM call AS c
    ASOF LEFT JOIN attribute._phase_segments AS s ON s.global_tid = c.global_tid AND s.start_ns <= c.start_ns
    -- A range that only groups phases may be none itself.
    LEFT JOIN attribute.occurrences AS p ON p.occurrence_id = s.occurrence_id
),
-- Most calls are made while a program starts: what runs before measured time is not looked through for them.
asked AS (
    SELECT api_id, global_tid, start_ns, end_ns AS at_ns
    FROM placed
    WHERE what <> 'synchronizing' AND is_measured AND (SELECT count(*) FROM attribute.occurrences) > 0
        AND start_ns BETWEEN (SELECT min(start_ns) FROM attribute.windows) AND (SELECT max(end_ns) FROM attribute.windows)
),
work AS (
    SELECT global_tid, launch_start_ns AS at_ns, coalesce(device_id, 0) AS device_id, occurrence_id
    FROM attribute.gpu_work
    WHERE end_ns > start_ns AND global_tid IN (SELECT global_tid FROM asked)
),
launch AS (
    FROM macros.next_launches('asked', 'work')
    -- None follows the last one.
    UNION ALL SELECT global_tid, 9223372036854775807, min(device_id), NULL FROM work GROUP BY global_tid
),
followed AS (
    SELECT
        c.api_id, n.occurrence_id AS next_id, w.end_ns > c.start_ns AS is_in_time, w.end_ns > n.at_ns AS has_next
    FROM asked AS c
    ASOF JOIN launch AS n ON n.global_tid = c.global_tid AND n.at_ns >= c.at_ns
    ASOF JOIN attribute.windows AS w ON w.device_id = n.device_id AND w.start_ns <= c.start_ns
)
SELECT
    c.api_id, c.what, c.name, CASE WHEN f.has_next THEN f.next_id ELSE c.around_id END AS occurrence_id, c.around_id, r.range_id,
    c.global_tid, c.start_ns, c.end_ns
FROM placed AS c
CROSS JOIN whole AS w
LEFT JOIN followed AS f ON f.api_id = c.api_id
ASOF LEFT JOIN attribute.range_segments AS r ON r.global_tid = c.global_tid AND r.start_ns <= c.start_ns
WHERE c.is_measured AND (c.around_id IS NOT NULL OR f.is_in_time OR (c.start_ns >= w.start_ns AND c.end_ns <= w.end_ns))
