-- Time of the experts' grouped products in each measured step of each process: uneven where tokens choose uneven experts.
-- Grain: phase, process_key, step.
-- materialize: table
-- empty without: attribute.kernel_families WHERE family = 'gemm'
-- requires: attribute._occurrence_kernels, attribute.kernel_families, attribute.occurrences, load.strings
-- columns:
--   phase       VARCHAR Name of the phase.
--   process_key BIGINT  Joins load.processes.
--   step        BIGINT  1, 2, 3, … of the process in the phase: the same step of each rank.
--   time_ns     BIGINT  Sum of their durations. Unit: ns.
WITH expert AS (
    SELECT f.name_id, f.full_name_id
    FROM attribute.kernel_families AS f
    LEFT JOIN load.strings AS short ON short.string_id = f.name_id
    LEFT JOIN load.strings AS long ON long.string_id = f.full_name_id
    WHERE f.family = 'gemm'
        AND regexp_matches(
            concat_ws(' ', short.value, long.value), '(?i)fused_moe_kernel|moe_\w*gemm|moe_wna16|marlin_moe|grouped_?gemm|group_?gemm|GroupProblemShape'
        )
),
spent AS (
    SELECT k.occurrence_id, sum(k.time_ns) AS time_ns
    FROM attribute._occurrence_kernels AS k
    JOIN expert AS e ON e.name_id IS NOT DISTINCT FROM k.name_id AND e.full_name_id IS NOT DISTINCT FROM k.full_name_id
    GROUP BY k.occurrence_id
)
SELECT
    p.phase, p.process_key, row_number() OVER (PARTITION BY p.phase, p.process_key ORDER BY p.start_ns, p.occurrence_id) AS step,
    s.time_ns::BIGINT AS time_ns
FROM spent AS s JOIN attribute.occurrences AS p USING (occurrence_id)
WHERE p.is_measured
