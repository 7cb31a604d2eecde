-- How long do GPUs wait for each other in collectives?
-- The n-th communication kernel of each name on one GPU is matched with the n-th on the others; whoever starts first waits.
-- params:
--   top=20  Collectives to show.
-- columns:
--   name          VARCHAR  Communication kernel.
--   number        BIGINT   0 for the first one of the name on each GPU.
--   device_count  BIGINT   GPUs that ran it.
--   phase         VARCHAR  Phase of the first to start, or NULL.
--   first_start_ns BIGINT  When the first GPU started it. Unit: ns.
--   skew_ns       BIGINT   From the first start to the last. Unit: ns.
--   shortest_ns   BIGINT   Shortest duration: what it takes when nobody has to wait. Unit: ns.
WITH collective AS (
    SELECT
        name, device_id, phase, start_ns, dur_ns,
        row_number() OVER (PARTITION BY device_id, name ORDER BY start_ns) - 1 AS number
    FROM gpu_work
    WHERE family = 'communication'
)
SELECT
    name, number, count(*) AS device_count, arg_min(phase, start_ns) AS phase, min(start_ns) AS first_start_ns,
    max(start_ns) - min(start_ns) AS skew_ns, min(dur_ns) AS shortest_ns
FROM collective
GROUP BY name, number
HAVING count(*) > 1
ORDER BY skew_ns DESC, name, number
LIMIT $top
