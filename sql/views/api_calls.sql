-- One row per CUDA runtime or driver call on the host, with the range and the phase it was made in.
-- Grain: api_id. What `--cudabacktrace` records a second time is left out.
-- requires: load.api_calls, load.strings, load.nvtx_ranges, attribute.range_segments, attribute.occurrences
-- columns:
--   api_id         BIGINT   The call. Joins gpu_work, kernels and memops.
--   name           VARCHAR  Function, such as 'cudaLaunchKernel'; without the version suffix that nsys keeps.
--   process_id     BIGINT   Operating-system pid. Joins processes.
--   thread_id      BIGINT   Operating-system tid of the caller. Joins threads.
--   correlation_id BIGINT   Joins the call to its GPU work in the raw tables, within one process.
--   start_ns       BIGINT   Entry. Unit: ns.
--   end_ns         BIGINT   Return. Unit: ns.
--   dur_ns         BIGINT   end_ns - start_ns. Unit: ns.
--   range_id       BIGINT   Innermost push/pop range of the thread at its entry. Joins nvtx_ranges.
--   range_name     VARCHAR  Its text.
--   phase          VARCHAR  Phase that is open on the calling thread at its entry (push/pop ranges alone), or NULL.
--   occurrence_id  BIGINT   The occurrence. Joins phases.
--   is_warmup      BOOLEAN  Whether the occurrence is inside warm-up, NULL outside every phase.
--   is_cold        BOOLEAN  Whether the occurrence is cold, NULL outside every phase: see phases.
WITH again AS (
    SELECT global_tid, start_ns, correlation_id, name_id, min(api_id) AS first_id
    FROM load.api_calls
    GROUP BY global_tid, start_ns, correlation_id, name_id
    HAVING count(*) > 1
),
placed AS (
    SELECT c.*, s.range_id, s.occurrence_id
    FROM load.api_calls AS c
    ANTI JOIN again AS a ON a.global_tid = c.global_tid AND a.start_ns = c.start_ns AND a.correlation_id = c.correlation_id AND a.name_id = c.name_id AND a.first_id < c.api_id
    ASOF LEFT JOIN attribute.range_segments AS s ON s.global_tid = c.global_tid AND s.start_ns <= c.start_ns
)
SELECT
    c.api_id, regexp_replace(n.value, '_v\d+$', '') AS name,
    c.process_key & 16777215 AS process_id, c.global_tid & 16777215 AS thread_id, c.correlation_id,
    c.start_ns, c.end_ns, c.end_ns - c.start_ns AS dur_ns, c.range_id, r.name AS range_name,
    p.phase, c.occurrence_id, p.is_warmup, p.is_cold
FROM placed AS c
LEFT JOIN load.strings AS n ON n.string_id = c.name_id
LEFT JOIN load.nvtx_ranges AS r ON r.range_id = c.range_id
LEFT JOIN attribute.occurrences AS p ON p.occurrence_id = c.occurrence_id
