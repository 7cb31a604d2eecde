-- GPU work in no phase, added up by kind and reason.
-- Grain: kind, reason.
-- materialize: table
-- requires: attribute.gpu_work
-- columns:
--   kind    VARCHAR  'kernel', 'memcpy', 'memset' or 'graph'.
--   reason  VARCHAR  See attribute.gpu_work.
--   count   BIGINT   Operations.
--   time_ns BIGINT   Sum of their durations. Unit: ns.
SELECT kind::VARCHAR AS kind, reason, count(*) AS "count", sum(end_ns - start_ns)::BIGINT AS time_ns
FROM attribute.gpu_work
WHERE occurrence_id IS NULL
GROUP BY kind, reason
