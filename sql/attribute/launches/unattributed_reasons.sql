-- GPU work in no phase, added up by reason.
-- Grain: reason.
-- requires: attribute.unattributed_work
-- columns:
--   reason  VARCHAR See attribute.gpu_work.
--   count   BIGINT  Operations of any kind.
--   time_ns BIGINT  Sum of their durations. Unit: ns.
SELECT reason, sum("count")::BIGINT AS "count", sum(time_ns)::BIGINT AS time_ns
FROM attribute.unattributed_work
GROUP BY reason
