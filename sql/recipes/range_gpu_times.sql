-- How much GPU time was launched inside each kind of range, parts included?
-- A range's work is what its thread launches while it is open, that of the ranges inside it included, whatever their domains.
-- Algorithm: of the GPU time of a thread, added up by launch, the sum at the end of a range less that before its start.
-- params:
--   top=30  Rows to show.
-- columns:
--   domain        VARCHAR  Domain of the range.
--   name          VARCHAR  Text of the range.
--   range_count   BIGINT   Ranges.
--   host_time_ns  BIGINT   Sum of their host durations. Unit: ns.
--   own_gpu_ns    BIGINT   GPU time of what they launched themselves, in no range inside them. Unit: ns.
--   gpu_time_ns   BIGINT   GPU time with the ranges inside them; NULL where two processes have the same pid. Unit: ns.
WITH shared AS (
    SELECT process_id FROM processes GROUP BY process_id HAVING count(*) > 1
),
own AS (
    SELECT range_id, sum(dur_ns)::BIGINT AS gpu_ns FROM gpu_work WHERE range_id IS NOT NULL GROUP BY range_id
),
launched AS (
    SELECT
        process_id, thread_id, launch_start_ns AS at_ns,
        sum(sum(dur_ns)) OVER (PARTITION BY process_id, thread_id ORDER BY launch_start_ns) AS until_ns
    FROM gpu_work
    WHERE launch_start_ns IS NOT NULL
    GROUP BY process_id, thread_id, launch_start_ns
),
total AS (
    SELECT
        r.domain, r.name, r.dur_ns, o.gpu_ns AS own_ns, coalesce(e.until_ns, 0) - coalesce(s.until_ns, 0) AS gpu_ns,
        r.process_id IN (FROM shared) AS is_shared
    FROM (FROM nvtx_ranges WHERE kind = 'push_pop') AS r
    ASOF LEFT JOIN launched AS e ON e.process_id = r.process_id AND e.thread_id = r.thread_id AND e.at_ns <= r.end_ns
    ASOF LEFT JOIN launched AS s ON s.process_id = r.process_id AND s.thread_id = r.thread_id AND s.at_ns < r.start_ns
    LEFT JOIN own AS o ON o.range_id = r.range_id
)
SELECT
    domain, name, count(*) AS range_count, sum(dur_ns)::BIGINT AS host_time_ns, coalesce(sum(own_ns), 0)::BIGINT AS own_gpu_ns,
    CASE WHEN NOT bool_or(is_shared) THEN sum(gpu_ns)::BIGINT END AS gpu_time_ns
FROM total
GROUP BY domain, name
ORDER BY gpu_time_ns DESC NULLS LAST, host_time_ns DESC, domain, name
LIMIT $top
