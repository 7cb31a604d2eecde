-- Which copies and fills run inside decode?
-- A copy between host and device in every step usually means a synchronization that batching would remove.
-- Warm-up and cold occurrences count.
-- params:
--   phase=decode  The phase.
-- columns:
--   kind           VARCHAR  'memcpy' or 'memset'.
--   direction      VARCHAR  'Host-to-Device', …; NULL for fills.
--   source_memory  VARCHAR  'pageable', 'pinned', 'device', …
--   target_memory  VARCHAR  The same of where the bytes went.
--   count          BIGINT   Operations.
--   per_range      DOUBLE   Operations of one range.
--   bytes          BIGINT   Bytes moved. Unit: bytes.
--   time_ns        BIGINT   Sum of their durations. Unit: ns.
SELECT
    m.kind, m.direction, m.source_memory, m.target_memory, count(*) AS "count",
    count(*) / (SELECT nullif(count(*), 0) FROM phases WHERE phase = $phase) AS per_range,
    sum(m.bytes)::BIGINT AS bytes, sum(m.dur_ns)::BIGINT AS time_ns
FROM memops AS m
WHERE m.phase = $phase
GROUP BY m.kind, m.direction, m.source_memory, m.target_memory
ORDER BY time_ns DESC, m.kind, m.direction, m.source_memory, m.target_memory
