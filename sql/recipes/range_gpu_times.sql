-- How much GPU time was launched inside each kind of range, parts included?
-- A range's work is its own and that of the ranges inside it, within its thread and domain.
-- params:
--   top=30  Rows to show.
-- columns:
--   domain        VARCHAR  Domain of the range.
--   name          VARCHAR  Text of the range.
--   range_count   BIGINT   Ranges.
--   host_time_ns  BIGINT   Sum of their host durations. Unit: ns.
--   own_gpu_ns    BIGINT   GPU time of what they launched themselves. Unit: ns.
--   gpu_time_ns   BIGINT   GPU time with the ranges inside them. Unit: ns.
WITH RECURSIVE own AS (
    SELECT range_id, sum(dur_ns)::BIGINT AS gpu_ns FROM gpu_work WHERE range_id IS NOT NULL GROUP BY range_id
),
climbed AS (
    SELECT range_id AS ancestor_id, gpu_ns, gpu_ns AS own_ns FROM own
    UNION ALL
    SELECT r.parent_id, c.gpu_ns, 0
    FROM climbed AS c JOIN nvtx_ranges AS r ON r.range_id = c.ancestor_id
    WHERE r.parent_id IS NOT NULL
),
total AS (
    SELECT ancestor_id AS range_id, sum(gpu_ns) AS gpu_ns, sum(own_ns) AS own_ns FROM climbed GROUP BY ancestor_id
)
SELECT
    r.domain, r.name, count(*) AS range_count, sum(r.dur_ns)::BIGINT AS host_time_ns,
    coalesce(sum(t.own_ns), 0)::BIGINT AS own_gpu_ns, coalesce(sum(t.gpu_ns), 0)::BIGINT AS gpu_time_ns
FROM nvtx_ranges AS r LEFT JOIN total AS t USING (range_id)
WHERE r.kind = 'push_pop'
GROUP BY r.domain, r.name
ORDER BY gpu_time_ns DESC, host_time_ns DESC, r.domain, r.name
LIMIT $top
