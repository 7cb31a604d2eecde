-- Experts that the CPU computes, as with `--n-cpu-moe` of llama.cpp: their FLOPs and bytes are none of the GPU's.
-- Algorithm: all attention of the model runs on the GPU, but with no products for experts in at least some layers; and in a quarter of
-- those layers or more, few bytes go to the host and back. Weights that are copied to the GPU instead are many bytes.
-- Grain: phase.
-- severity: warning
-- message: a pass of {phase} copies little to the host {down_count:,} times and back {up_count:,} times, and runs {product_kernels:,} matrix
--   products, where {model} has {expert_layers:,} layers with experts and needs about {products_apart:,}: the host computes experts. FLOPs,
--   bytes, MFU and MBU have them all the same, and are too high for the GPU
-- concerns: estimate.occurrence_costs
-- empty without: input.pass_ops WHERE expert_layers > 0
-- requires: attribute.pass_kernels, estimate.phase_costs, input.pass_ops, input.model, attribute.gpu_work, attribute.occurrences, load.memop_details
-- columns:
--   phase           VARCHAR The phase.
--   at_stake_ns     BIGINT  Its GPU busy time. Unit: ns.
--   model           VARCHAR Name of the model.
--   expert_layers   BIGINT  Its layers with experts.
--   products_apart  BIGINT  Matrix products of a pass: query, key and value in three, gate and up in two, experts of a layer in two.
--   product_kernels BIGINT  Matrix products that a pass runs on the GPU.
--   down_count      BIGINT  Copies to the host in a pass.
--   up_count        BIGINT  Copies from the host in a pass.
WITH pass AS (
    SELECT occurrence_id, phase FROM attribute.occurrences WHERE is_measured
),
copy AS (
    SELECT
        p.phase, count(*) FILTER (WHERE d.direction = 'Device-to-Host') AS down,
        count(*) FILTER (WHERE d.direction = 'Host-to-Device') AS up,
        coalesce(sum(w.bytes) FILTER (WHERE d.direction = 'Host-to-Device'), 0) AS up_bytes
    FROM pass AS p JOIN attribute.gpu_work AS w USING (occurrence_id) JOIN load.memop_details AS d USING (op_id)
    WHERE w.kind = 'memcpy'
    GROUP BY p.phase
),
counted AS (
    SELECT c.phase, c.down / n.passes AS down, c.up / n.passes AS up, c.up_bytes / n.passes AS up_bytes
    FROM copy AS c JOIN (SELECT phase, count(*) AS passes FROM pass GROUP BY phase) AS n USING (phase)
)
SELECT
    o.phase, t.gpu_busy_ns AS at_stake_ns, m.name AS model, o.expert_layers, o.products_apart,
    round(k.product_kernels)::BIGINT AS product_kernels, round(c.down)::BIGINT AS down_count, round(c.up)::BIGINT AS up_count
FROM input.pass_ops AS o
JOIN attribute.pass_kernels AS k USING (phase)
JOIN counted AS c USING (phase)
JOIN estimate.phase_costs AS t USING (phase)
CROSS JOIN input.model AS m
WHERE o.expert_layers > 0 AND k.attention_kernels >= o.attention AND k.product_kernels < 0.95 * o.products_apart
    AND least(c.down, c.up) >= greatest(4, o.expert_layers / 4) AND c.up_bytes < o.expert_bytes / 4
