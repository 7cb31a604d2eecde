-- Kernels with so few blocks that half of the GPU's SMs or more have nothing to do.
-- A tenth of the kernel time lost. Not where kernels run beside each other, on several streams: others may have used those SMs.
-- Grain: phase.
-- severity: info
-- message: in {place} {kernel_count:,} kernels leave half of the SMs or more without work, most of the time `{name}`: {blocks:,}
--   blocks for {sm_count:,} SMs
-- hint: a larger batch, or a kernel that splits the work of a row among more blocks (split-K products, FlashDecoding, a sampler of
--   several blocks); the class `compute` of `time_budget` shows the effect
-- empty without: attribute._few_block_ops
-- requires: attribute.phase_spending, attribute.phase_kernels, attribute._few_block_ops, attribute._overlapping_ops, load.strings, macros.hidden_ns
-- columns:
--   phase        VARCHAR The phase, NULL outside every phase.
--   at_stake_ns  BIGINT  The share of their time that the SMs without a block are of all, at most the time in which one of them runs and nothing
--                        else does, and that of the class. Unit: ns.
--   budget_part  VARCHAR 'compute'.
--   place        VARCHAR The phase in a sentence.
--   kernel_count BIGINT  Such kernels.
--   name         VARCHAR The one that loses most of the time.
--   blocks       BIGINT  Its blocks.
--   sm_count     BIGINT  SMs of its GPU.
WITH alike AS (
    SELECT
        phase, name_id, full_name_id, blocks, sm_count, count(*) AS "count", sum(time_ns) AS time_ns,
        floor(sum(time_ns) * (1 - blocks / sm_count))::BIGINT AS idle_ns
    FROM attribute._few_block_ops
    GROUP BY phase, name_id, full_name_id, blocks, sm_count
),
summed AS (
    SELECT
        k.phase, sum(k.idle_ns) AS idle_ns, sum(k.time_ns) AS time_ns, sum(k."count")::BIGINT AS kernel_count,
        arg_max(
            {'name': s.value, 'blocks': k.blocks, 'sm_count': k.sm_count}, (k.idle_ns, s.value, k.blocks, k.sm_count, k.full_name_id)
        ) AS most
    FROM alike AS k LEFT JOIN load.strings AS s ON s.string_id = k.name_id
    GROUP BY k.phase
),
member AS (SELECT phase AS group_id, op_id FROM attribute._few_block_ops),
few AS (
    SELECT s.phase, s.kernel_count, s.most, least(s.idle_ns, s.time_ns - coalesce(h.hidden_ns, 0))::BIGINT AS idle_ns
    FROM summed AS s
    LEFT JOIN macros.hidden_ns('member', 'attribute._overlapping_ops') AS h ON h.group_id IS NOT DISTINCT FROM s.phase
),
every AS (
    SELECT phase, sum(time_ns) AS time_ns FROM attribute.phase_kernels WHERE family <> 'communication' GROUP BY phase
)
SELECT
    s.phase, least(f.idle_ns, s.compute_ns) AS at_stake_ns, 'compute' AS budget_part, s.place, f.kernel_count,
    f.most.name AS name, f.most.blocks AS blocks, f.most.sm_count AS sm_count
FROM attribute.phase_spending AS s
JOIN few AS f ON f.phase IS NOT DISTINCT FROM s.phase
JOIN every AS e ON e.phase IS NOT DISTINCT FROM s.phase
WHERE f.idle_ns >= s.compute_ns / 10 AND least(f.idle_ns, s.compute_ns) >= s.least_ns AND 4 * e.time_ns <= 5 * s.compute_ns
