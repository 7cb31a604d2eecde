-- Phases in which ranks communicate although nobody says how many GPUs share a pass: each of them may have run a whole pass, or
-- its share of one.
-- Of inference that is any communication. Ranks of training that have batches of their own gather weights in the forward, and
-- reduce the loss; those that share a pass reduce in each layer.
-- Grain: phase.
-- materialize: table
-- requires: input.model, attribute.phase_devices, attribute.phase_ranges, attribute.kernel_totals, attribute.kernel_families, load.strings
-- columns:
--   phase            VARCHAR Its name.
--   rank_count       BIGINT  Pairs of a process and a GPU that it used.
--   gpu_busy_ns      BIGINT  GPU busy time, added up over ranks. Unit: ns.
WITH rank AS (
    SELECT
        phase, count(*) AS rank_count, sum(gpu_busy_ns)::BIGINT AS gpu_busy_ns
    FROM attribute.phase_devices
    WHERE phase IN ('prefill', 'decode', 'mixed', 'verify', 'draft', 'forward', 'backward')
    GROUP BY phase
),
call AS (
    SELECT k.phase, k."count", regexp_matches(s.value, '(?i)(?:all|cross_device)_?reduce|reduce_?scatter') AS is_reduction
    FROM attribute.kernel_totals AS k
    JOIN attribute.kernel_families AS f ON f.name_id = k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
    JOIN load.strings AS s ON s.string_id = k.name_id
    WHERE f.family = 'communication'
),
talk AS (
    SELECT DISTINCT phase FROM call WHERE phase NOT IN ('forward', 'backward')
    UNION ALL
    SELECT unnest(['forward', 'backward'])
    WHERE (SELECT sum("count") FROM call WHERE phase = 'forward' AND is_reduction)
        >= 4 * (SELECT count(*) FROM attribute.phase_ranges WHERE phase = 'forward')
)
SELECT phase, rank_count, gpu_busy_ns
FROM rank JOIN talk USING (phase)
WHERE rank_count > 1 AND (SELECT bool_and(NOT is_degree_told) FROM input.model)
