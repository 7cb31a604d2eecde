-- Phases of inference in which ranks communicate although nobody says how many GPUs share a pass: each of them may have run a
-- whole pass, or its share of one.
-- Grain: phase.
-- materialize: table
-- requires: input.model, attribute.phase_devices, attribute.kernel_totals, attribute.kernel_families
-- columns:
--   phase            VARCHAR Its name.
--   rank_count       BIGINT  Pairs of a process and a GPU that it used.
--   gpu_busy_ns      BIGINT  GPU busy time, added up over ranks. Unit: ns.
WITH rank AS (
    SELECT
        phase, count(*) AS rank_count, sum(gpu_busy_ns)::BIGINT AS gpu_busy_ns
    FROM attribute.phase_devices
    WHERE phase IN ('prefill', 'decode', 'mixed', 'verify', 'draft')
    GROUP BY phase
),
talk AS (
    SELECT DISTINCT k.phase
    FROM attribute.kernel_totals AS k
    JOIN attribute.kernel_families AS f ON f.name_id = k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
    WHERE f.family = 'communication'
)
SELECT phase, rank_count, gpu_busy_ns
FROM rank JOIN talk USING (phase)
WHERE rank_count > 1 AND (SELECT bool_and(NOT is_degree_told) FROM input.model)
