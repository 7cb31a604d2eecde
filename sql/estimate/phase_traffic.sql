-- What the estimate says about the memory traffic of each phase, over measured occurrences of known shape.
-- Grain: phase.
-- empty without: estimate.occurrence_costs
-- requires: estimate.occurrence_costs, attribute.occurrences, input.shapes, input.shape_costs
-- columns:
--   phase       VARCHAR Name of the phase.
--   step_count  BIGINT  Such occurrences.
--   tokens      BIGINT  Tokens that went through the model. Unit: tokens.
--   compute_ns  DOUBLE  Time of the FLOPs at peak, over all GPUs. Unit: ns.
--   memory_ns   DOUBLE  Time of the bytes at peak bandwidth, over all GPUs. Unit: ns.
--   weight_ns   DOUBLE  Part of it for weights. Unit: ns.
--   kv_ns       DOUBLE  Part of it for reading the KV cache. Unit: ns.
--   chunk_ns    DOUBLE  What memory_ns is above compute_ns in occurrences of requests that have several of this phase. Unit: ns.
--   chunk_count BIGINT  Such occurrences.
WITH step AS (
    SELECT
        o.phase, o.occurrence_id, count(*) OVER (PARTITION BY o.phase, o.request_id) > 1 AND o.request_id IS NOT NULL AS is_chunk,
        coalesce(s.new_tokens, o.new_tokens) AS tokens, c.compute_ns * c.device_count AS compute_ns,
        c.memory_ns * c.device_count AS memory_ns, k.weight_bytes / nullif(k.bytes, 0) AS weight_ratio,
        k.kv_read_bytes / nullif(k.bytes, 0) AS kv_ratio
    FROM estimate.occurrence_costs AS c
    JOIN attribute.occurrences AS o USING (occurrence_id)
    JOIN input.shapes AS s USING (shape_id)
    JOIN input.shape_costs AS k USING (shape_id)
    WHERE o.is_measured AND c.compute_ns IS NOT NULL AND c.memory_ns IS NOT NULL
)
SELECT
    phase, count(*) AS step_count, sum(tokens)::BIGINT AS tokens, sum(compute_ns) AS compute_ns, sum(memory_ns) AS memory_ns,
    sum(memory_ns * weight_ratio) AS weight_ns, sum(memory_ns * kv_ratio) AS kv_ns,
    coalesce(sum(greatest(0, memory_ns - compute_ns)) FILTER (WHERE is_chunk), 0) AS chunk_ns,
    count(*) FILTER (WHERE is_chunk) AS chunk_count
FROM step
GROUP BY phase
