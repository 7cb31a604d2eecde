-- Times of requests that are repeats of each other, for each phase and stage: mean and standard deviation of what one request
-- spends in it.
-- Only requests all of whose occurrences of the phase are measured: outside warm-up, and not cold.
-- Grain: shape, phase, stage; stage is NULL for the whole phase. Requests whose shape is not known, and an engine's, are absent.
-- empty without: estimate.request_shapes
-- requires: attribute.occurrences, attribute._occurrence_sizes, attribute.stage_ranges, attribute.stage_times, estimate.request_shapes
-- columns:
--   shape         VARCHAR  Shape of the prompt: batch x prompt tokens, and images.
--   phase         VARCHAR  Name of the phase.
--   stage         VARCHAR  Part of the vision side, NULL for the whole phase.
--   repeats       BIGINT   Requests in the numbers.
--   cold          BIGINT   Requests outside warm-up that are left out, because a part of the phase is cold.
--   mean_wall_ns  DOUBLE   Mean host time of a request. Unit: ns.
--   sd_wall_ns    DOUBLE   Sample standard deviation, NULL of a single one. Unit: ns.
--   mean_busy_ns  DOUBLE   Mean GPU busy time of a request, added up over GPUs. Unit: ns.
--   sd_busy_ns    DOUBLE   Sample standard deviation, NULL of a single one. Unit: ns.
WITH part AS (
    SELECT p.request_id, p.phase, NULL::VARCHAR AS stage, p.is_measured, p.wall_ns, z.busy_ns
    FROM attribute.occurrences AS p JOIN attribute._occurrence_sizes AS z USING (occurrence_id)
    UNION ALL
    SELECT p.request_id, p.phase, r.stage, p.is_measured, t.wall_ns, t.gpu_busy_ns
    FROM attribute.stage_ranges AS r
    JOIN attribute.stage_times AS t USING (range_id)
    JOIN attribute.occurrences AS p USING (occurrence_id)
    WHERE NOT p.is_warmup
),
request AS (
    SELECT
        s.shape, p.phase, p.stage, bool_and(p.is_measured) AS is_measured, sum(p.wall_ns) AS wall_ns,
        sum(p.busy_ns) AS busy_ns
    FROM part AS p JOIN estimate.request_shapes AS s USING (request_id)
    WHERE s.shape IS NOT NULL
    GROUP BY p.request_id, s.shape, p.phase, p.stage
)
SELECT
    shape, phase, stage, count(*) FILTER (WHERE is_measured) AS repeats, count(*) FILTER (WHERE NOT is_measured) AS cold,
    avg(wall_ns) FILTER (WHERE is_measured) AS mean_wall_ns, stddev_samp(wall_ns) FILTER (WHERE is_measured) AS sd_wall_ns,
    avg(busy_ns) FILTER (WHERE is_measured) AS mean_busy_ns, stddev_samp(busy_ns) FILTER (WHERE is_measured) AS sd_busy_ns
FROM request
GROUP BY shape, phase, stage
