-- Phases of inference whose passes read less than the L2 cache holds: what stays there is not read from memory.
-- Grain: phase.
-- severity: info
-- message: a pass of {phase} reads {pass_mb} MB of weights and KV cache, and the L2 cache of its GPU holds {cache_mb:,} MB: what stays there from
--   pass to pass is not read from memory, so that MBU is not the share of the memory bandwidth that was used
-- hint: counters of DRAM traffic (`capture --gpu-metrics`) say what was
-- concerns: estimate.occurrence_costs
-- empty without: estimate.occurrence_costs
-- requires: estimate.occurrence_costs, attribute.occurrences, input.shape_costs, input.peaks, load.devices
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  GPU busy time of such passes, added up over GPUs. Unit: ns.
--   pass_mb     VARCHAR What the pass that reads most of them reads, a GPU's share. Unit: MB.
--   cache_mb    BIGINT  L2 cache of a GPU. Unit: MB.
WITH known AS (SELECT device_id, any_value(l2_cache_bytes) AS l2_cache_bytes FROM input.peaks GROUP BY device_id),
-- torch.profiler does not record it.
cache AS (
    SELECT min(coalesce(d.l2_cache_bytes, k.l2_cache_bytes)) AS cache_bytes
    FROM load.devices AS d LEFT JOIN known AS k USING (device_id)
    WHERE d.has_work
),
pass AS (
    SELECT o.phase, c.device_busy_ns, (k.weight_bytes + k.kv_read_bytes) / c.device_count AS pass_bytes
    FROM estimate.occurrence_costs AS c
    JOIN attribute.occurrences AS o USING (occurrence_id)
    JOIN input.shape_costs AS k USING (shape_id)
    WHERE o.is_measured AND c.device_count > 0 AND c.bytes > 0 AND o.phase IN ('prefill', 'decode', 'mixed', 'verify', 'draft')
)
SELECT
    p.phase, sum(p.device_busy_ns)::BIGINT AS at_stake_ns, format('{:.1f}', max(p.pass_bytes) / 1e6) AS pass_mb,
    (max(c.cache_bytes) // 1000000)::BIGINT AS cache_mb
FROM pass AS p JOIN cache AS c ON p.pass_bytes <= c.cache_bytes
GROUP BY p.phase
