-- How fast are the copies?
-- columns:
--   direction     VARCHAR  'Host-to-Device', …
--   source_memory VARCHAR  'pageable', 'pinned', 'device', …
--   target_memory VARCHAR  The same of where the bytes went.
--   count         BIGINT   Copies.
--   bytes         BIGINT   Bytes moved. Unit: bytes.
--   time_ns       BIGINT   Sum of their durations. Unit: ns.
--   bytes_per_s   DOUBLE   bytes / time_ns, of the copies whose times were recorded. Unit: bytes/s.
--   max_bytes     BIGINT   Largest copy. Unit: bytes.
SELECT
    direction, source_memory, target_memory, count(*) AS "count", sum(bytes)::BIGINT AS bytes,
    sum(dur_ns)::BIGINT AS time_ns,
    (sum(bytes) FILTER (WHERE NOT (start_ns = end_ns AND start_ns <= 0)) / nullif(sum(dur_ns), 0) * 1e9)::DOUBLE AS bytes_per_s,
    max(bytes) AS max_bytes
FROM memops
WHERE kind = 'memcpy'
GROUP BY direction, source_memory, target_memory
ORDER BY bytes DESC, direction, source_memory, target_memory
