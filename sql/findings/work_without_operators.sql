-- Phases in which a tenth of the GPU time or more was launched outside torch's operators, by CUDA graphs above all: the view `operators`
-- is of the rest.
-- Grain: a phase.
-- severity: warning
-- message: in {phase} {share:%} of the GPU time was launched outside every operator of torch, {graph_share:%} by CUDA graphs: the table
--   of operators, its shares and its FLOPs lack it
-- hint: {advice}; `from top_kernels` has all kernels
-- concerns: attribute.operator_calls
-- empty without: attribute.operator_calls
-- requires: attribute.operator_calls, attribute.gpu_work, attribute.occurrences
-- columns:
--   phase       VARCHAR Name of the phase.
--   at_stake_ns BIGINT  That GPU time. Unit: ns.
--   share       DOUBLE  Its share of the phase's.
--   graph_share DOUBLE  Of the phase's, what CUDA graphs launched.
--   advice      VARCHAR What to do about it.
WITH measured AS (
    SELECT occurrence_id, phase FROM attribute.occurrences WHERE is_measured
),
own AS (
    SELECT m.phase, sum(c.gpu_self_ns) AS own_ns
    FROM attribute.operator_calls AS c JOIN measured AS m USING (occurrence_id)
    GROUP BY m.phase
),
total AS (
    SELECT
        m.phase, sum(w.end_ns - w.start_ns) AS all_ns,
        coalesce(sum(w.end_ns - w.start_ns) FILTER (WHERE w.graph_node_id IS NOT NULL OR w.kind = 'graph'), 0) AS graph_ns
    FROM attribute.gpu_work AS w JOIN measured AS m USING (occurrence_id)
    GROUP BY m.phase
),
outside AS (
    SELECT t.phase, t.all_ns, t.graph_ns, t.all_ns - coalesce(o.own_ns, 0) AS outside_ns FROM total AS t LEFT JOIN own AS o USING (phase)
)
SELECT
    phase, outside_ns::BIGINT AS at_stake_ns, (outside_ns / all_ns)::DOUBLE AS share, (least(graph_ns, outside_ns) / all_ns)::DOUBLE AS graph_share,
    CASE
        WHEN graph_ns >= outside_ns / 2 THEN 'record without CUDA graphs to see their operators'
        ELSE 'kernels that torch.compile generates and those of other libraries have no operator of torch'
    END AS advice
FROM outside
WHERE outside_ns >= 0.1 * all_ns AND all_ns > 0 AND EXISTS (FROM attribute.operator_calls)
