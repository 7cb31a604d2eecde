-- What are the longest idle gaps of the GPU, and what did the CPU do in them?
-- The call that fills most of each gap, on any thread of the processes that use the GPU; the gap is host-bound where calls
-- fill little of it.
-- params:
--   top=10  Gaps to show.
-- columns:
--   device_id     BIGINT   GPU.
--   start_ns      BIGINT   End of the work before. Unit: ns.
--   idle_ns       BIGINT   Length of the gap. Unit: ns.
--   phase         VARCHAR  Phase that is open in one of these processes when the gap starts; NULL for none.
--   call_ns       BIGINT   Time of the gap inside CUDA calls, added up over their threads. Unit: ns.
--   longest_call  VARCHAR  Call that fills most of it.
--   longest_ns    BIGINT   How much of it. Unit: ns.
WITH used AS (
    SELECT DISTINCT device_id, process_id FROM gpu_work
),
gap AS (
    SELECT device_id, start_ns - idle_ns AS start_ns, start_ns AS end_ns, idle_ns
    FROM gpu_busy
    WHERE idle_ns IS NOT NULL
    ORDER BY idle_ns DESC, start_ns, device_id
    LIMIT $top
),
call AS (
    SELECT
        g.device_id, g.start_ns, c.name, sum(least(c.end_ns, g.end_ns) - greatest(c.start_ns, g.start_ns)) AS inside_ns
    FROM gap AS g
    JOIN used AS u USING (device_id)
    JOIN api_calls AS c ON c.process_id = u.process_id AND c.start_ns < g.end_ns AND c.end_ns > g.start_ns
    GROUP BY ALL
),
busiest AS (
    SELECT
        device_id, start_ns, sum(inside_ns)::BIGINT AS call_ns, arg_max(name, (inside_ns, name)) AS longest_call,
        max(inside_ns)::BIGINT AS longest_ns
    FROM call
    GROUP BY device_id, start_ns
),
open_phase AS (
    SELECT g.device_id, g.start_ns, arg_max(p.phase, (p.start_ns, p.occurrence_id)) AS phase
    FROM gap AS g
    JOIN used AS u USING (device_id)
    JOIN phases AS p ON p.process_id = u.process_id AND p.start_ns <= g.start_ns AND p.end_ns > g.start_ns
    GROUP BY g.device_id, g.start_ns
)
SELECT g.device_id, g.start_ns, g.idle_ns, o.phase, coalesce(b.call_ns, 0) AS call_ns, b.longest_call, b.longest_ns
FROM gap AS g
LEFT JOIN busiest AS b USING (device_id, start_ns)
LEFT JOIN open_phase AS o USING (device_id, start_ns)
ORDER BY g.idle_ns DESC, g.start_ns, g.device_id
