-- Phases of inference, of whose passes one reads more weights and cache than the memory of its GPUs holds.
-- Grain: phase.
-- severity: warning
-- message: a pass of {phase} would read {pass_gb:,} GB of weights and KV cache, and the memory of its GPUs holds {memory_gb:,} GB: bytes and
--   MBU are too high
-- hint: check --model, --weight-dtype, --kv-dtype, --tp and --shape; sequences that share a prefix, and a cache or weights that stay in the
--   memory of the host, explain it, too
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: estimate.occurrence_costs
-- requires: estimate.occurrence_costs, attribute.occurrences, input.shape_costs, load.devices
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  GPU busy time of its measured passes, added up over GPUs. Unit: ns.
--   pass_gb     BIGINT  What the pass that reads most of those that do not fit would read, a GPU's share. Unit: GB.
--   memory_gb   BIGINT  Memory of its GPUs. Unit: GB.
WITH pass AS (
    SELECT
        o.phase, c.device_busy_ns, k.weight_bytes + k.kv_read_bytes AS pass_bytes,
        c.device_count * (SELECT max(memory_bytes) FROM load.devices) AS memory_bytes
    FROM estimate.occurrence_costs AS c
    JOIN attribute.occurrences AS o USING (occurrence_id)
    JOIN input.shape_costs AS k USING (shape_id)
    WHERE o.is_measured AND c.device_count > 0 AND c.bytes IS NOT NULL
        -- In training each layer's weights may be gathered when they are needed.
        AND o.phase IN ('prefill', 'decode', 'mixed', 'verify', 'draft')
)
SELECT
    phase, sum(device_busy_ns)::BIGINT AS at_stake_ns,
    ceil(max(pass_bytes) FILTER (pass_bytes > memory_bytes) / 1e9)::BIGINT AS pass_gb,
    (arg_max(memory_bytes, (pass_bytes, memory_bytes)) FILTER (pass_bytes > memory_bytes) // 1000000000)::BIGINT AS memory_gb
FROM pass
GROUP BY phase
HAVING count_if(pass_bytes > memory_bytes) > 0
