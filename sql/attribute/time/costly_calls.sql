-- CUDA calls that a step should not need: they load code, allocate memory, or wait for the GPU. Warm-up and cold occurrences are left out.
-- Grain: api_id. `--cudabacktrace` records some calls twice: the second row is left out.
-- materialize: table
-- requires: load.api_calls, load.strings, attribute._phase_segments, attribute.occurrences, attribute.range_segments, attribute.windows, macros.cuda_call
-- columns:
--   api_id        BIGINT  Joins load.api_calls.
--   what          VARCHAR 'loading' (modules, libraries, linking), 'allocating' (that is not ordered on a stream, freeing too) or
--                         'synchronizing'.
--   name          VARCHAR Name of the call, without the version that nsys appends.
--   occurrence_id BIGINT  The phase that is open on the thread. Joins attribute.phase_ranges. NULL in a trace without phases.
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
)
SELECT c.api_id, c.what, c.name, p.occurrence_id, r.range_id, c.global_tid, c.start_ns, c.end_ns
FROM call AS c
CROSS JOIN whole AS w
ASOF LEFT JOIN attribute._phase_segments AS s ON s.global_tid = c.global_tid AND s.start_ns <= c.start_ns
LEFT JOIN attribute.occurrences AS p ON p.occurrence_id = s.occurrence_id AND p.is_measured
ASOF LEFT JOIN attribute.range_segments AS r ON r.global_tid = c.global_tid AND r.start_ns <= c.start_ns
WHERE p.occurrence_id IS NOT NULL OR (c.start_ns >= w.start_ns AND c.end_ns <= w.end_ns)
