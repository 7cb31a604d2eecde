-- Calls that wait for the GPU for a millisecond or more, blocking copies until the copy starts, as spans of their process.
-- What `--cudabacktrace` records twice counts once.
-- Grain: span_id.
-- materialize: table
-- requires: load.api_calls, attribute._call_kinds, attribute.gpu_work
-- columns:
--   span_id    BIGINT  The call. Joins load.api_calls.
--   group_id   BIGINT  The process.
--   global_tid BIGINT  The waiting thread.
--   start_ns   BIGINT  Unit: ns.
--   end_ns     BIGINT  Unit: ns.
WITH copy AS (
    SELECT api_id, min(start_ns) AS start_ns FROM attribute.gpu_work WHERE kind = 'memcpy' AND api_id IS NOT NULL GROUP BY api_id
)
SELECT
    min(a.api_id) AS span_id, a.process_key AS group_id, a.global_tid, a.start_ns,
    min(least(a.end_ns, coalesce(c.start_ns, a.end_ns))) AS end_ns
FROM load.api_calls AS a
JOIN attribute._call_kinds AS k ON k.name_id = a.name_id AND k.kind = 1
LEFT JOIN copy AS c USING (api_id)
GROUP BY a.process_key, a.global_tid, a.start_ns, a.correlation_id
HAVING min(least(a.end_ns, coalesce(c.start_ns, a.end_ns))) >= a.start_ns + 1000000
