-- Ranges of a phase that run no pass of a model, each right behind a range of the same text that does: a program that opens
-- two ranges for one step, such as TensorRT-LLM's overlapping loop around the forward and around sampling.
-- Grain: phase.
-- severity: warning
-- message: {piece_count:,} of {range_count:,} measured ranges of {phase} run no matrix product and no attention, each behind a range of the
--   same text that does: they are the rest of its step, and count as steps with tokens and FLOPs of their own
-- hint: take them off the steps, tokens and FLOPs of {phase}, or give the second range another name; GPU times are right
-- empty without: attribute.occurrences WHERE occurrence > 0 AND is_measured
-- requires: attribute.occurrences, attribute._occurrence_kernels, attribute.kernel_families, attribute.work_by_occurrence, load.nvtx_ranges
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Host time in such ranges. Unit: ns.
--   piece_count BIGINT  Such ranges.
--   range_count BIGINT  All measured ranges of the phase.
WITH work AS (
    SELECT occurrence_id, sum(kernel_count) AS kernels, sum(graph_launch_count) > 0 AS has_graph
    FROM attribute.work_by_occurrence
    GROUP BY occurrence_id
),
behind AS (
    SELECT
        o.occurrence_id, o.phase, o.wall_ns, o.is_measured, w.kernels, w.has_graph,
        lag(o.occurrence_id) OVER same AS before_id, lag(w.kernels) OVER same AS before_kernels,
        lag(w.has_graph) OVER same AS before_graph, lag(r.name) OVER same = r.name AS is_same
    FROM attribute.occurrences AS o
    JOIN load.nvtx_ranges AS r ON r.range_id = o.occurrence_id
    JOIN work AS w USING (occurrence_id)
    WHERE o.phase IN ('prefill', 'decode', 'mixed', 'verify', 'draft')
    WINDOW same AS (PARTITION BY o.process_key, o.global_tid, o.phase ORDER BY o.start_ns, o.occurrence_id)
),
-- A pass has several times the kernels of what follows it.
small AS (
    SELECT * FROM behind WHERE is_measured AND is_same AND NOT has_graph AND kernels > 0 AND (before_graph OR before_kernels >= 3 * kernels)
),
passing AS (
    SELECT k.occurrence_id
    FROM attribute._occurrence_kernels AS k
    JOIN attribute.kernel_families AS f ON f.name_id = k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
    WHERE k.occurrence_id IN (SELECT occurrence_id FROM small UNION ALL SELECT before_id FROM small)
    GROUP BY k.occurrence_id
    HAVING bool_or(f.family IN ('gemm', 'attention', 'recurrence', 'communication', 'other'))
),
piece AS (
    SELECT s.*
    FROM small AS s
    WHERE s.occurrence_id NOT IN (SELECT occurrence_id FROM passing)
        AND (s.before_graph OR s.before_id IN (SELECT occurrence_id FROM passing))
)
SELECT
    p.phase, sum(p.wall_ns)::BIGINT AS at_stake_ns, count(*) AS piece_count,
    (SELECT count(*) FROM behind AS b WHERE b.phase = p.phase AND b.is_measured) AS range_count
FROM piece AS p
GROUP BY p.phase
