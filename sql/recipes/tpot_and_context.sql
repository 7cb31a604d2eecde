-- How does the time of a decode step grow with the context?
-- Decode steps by cached tokens per sequence; where shapes are not known, by the step's number in its request.
-- params:
--   width=64  Cached tokens (or steps) of one row.
-- columns:
--   batch           BIGINT  Sequences of a step, NULL where it is not known.
--   context_start   BIGINT  First cached tokens per sequence, or first step.
--   steps           BIGINT  Decode steps, warm-up and cold ones left out.
--   median_wall_ns  DOUBLE  Median host time of a step. Unit: ns.
--   median_busy_ns  DOUBLE  Median GPU busy time of a step, added up over its GPUs. Unit: ns.
--   mean_mbu_busy   DOUBLE  Mean memory bandwidth utilization of busy time, NULL without a model.
WITH step AS (
    SELECT
        *, coalesce(cached_tokens // nullif(batch, 0),
            row_number() OVER (PARTITION BY process_id, thread_id, request_id, is_warmup ORDER BY start_ns, occurrence_id) - 1) AS context
    FROM phases
    WHERE phase = 'decode'
)
SELECT
    batch, bucket_ns(context, $width) AS context_start, count(*) AS steps, median(wall_ns) AS median_wall_ns,
    median(gpu_busy_ns) AS median_busy_ns, avg(mbu_busy) AS mean_mbu_busy
FROM step
WHERE is_measured
GROUP BY batch, context_start
ORDER BY batch, context_start
