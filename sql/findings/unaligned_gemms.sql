-- Matrix products in 16 bits whose operands are not aligned to 16 bytes: a dimension is no multiple of 8.
-- CUTLASS has the elements of a load in the kernel's name: `align8` is 16 bytes, `align1` and `align2` are what is left for other
-- dimensions. A tenth of the kernel time.
-- Grain: phase.
-- severity: info
-- message: in {place} {kernel_count:,} matrix products load one or two elements at a time, most of the time `{name}`: a dimension is no
--   multiple of 8
-- hint: pad the dimension (vocabulary, heads, batch) to a multiple of 64, or at least of 8; the class `compute` of `time_budget` shows
--   the effect
-- empty without: attribute.phase_kernels WHERE family = 'gemm' AND contains(concat_ws(' ', name, full_name), 'align')
-- requires: attribute.phase_spending, attribute.phase_kernels
-- columns:
--   phase        VARCHAR The phase, NULL outside every phase.
--   at_stake_ns  BIGINT  Their time, at most that of the class. Unit: ns.
--   budget_part  VARCHAR 'compute'.
--   place        VARCHAR The phase in a sentence.
--   kernel_count BIGINT  Such kernels.
--   name         VARCHAR The one that takes most of the time.
WITH unaligned AS (
    SELECT
        phase, sum(time_ns)::BIGINT AS time_ns, sum("count")::BIGINT AS kernel_count,
        arg_max(coalesce(nullif(regexp_extract(full_name, '\w*align[12]\b'), ''), name), (time_ns, full_name)) AS name
    FROM attribute.phase_kernels
    WHERE family = 'gemm'
        AND regexp_matches(concat_ws(' ', name, full_name), 'tensorop\w*(bf16|f16|h16816|h884|_s16816|_s161616|_h161616)\w*align[12]\b')
    GROUP BY phase
)
SELECT
    s.phase, least(k.time_ns, s.compute_ns) AS at_stake_ns, 'compute' AS budget_part, s.place, k.kernel_count, k.name
FROM attribute.phase_spending AS s JOIN unaligned AS k ON k.phase IS NOT DISTINCT FROM s.phase
WHERE k.time_ns >= s.compute_ns / 10 AND least(k.time_ns, s.compute_ns) >= s.least_ns
