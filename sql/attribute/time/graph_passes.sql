-- How often a range of decode launches the CUDA graphs that are its pass, where graphs are recorded as a whole: several launches of one
-- are several passes of the model.
-- Algorithm: the graph that takes longest is of the pass, and so are those that are launched as often: a graph for each layer, or for the
-- pieces between attention, is launched once a pass. A draft's, or a sampler's, is shorter. What takes less than half of the range's GPU
-- time is no pass.
-- Grain: phase; those whose ranges mostly run no such graph are absent.
-- empty without: load.gpu_ops WHERE kind = 'graph'
-- requires: attribute.gpu_work, attribute.occurrences, attribute.work_by_occurrence
-- columns:
--   phase  VARCHAR 'decode'.
--   passes DOUBLE  Launches of that graph in a range, on average.
WITH decode AS (
    SELECT occurrence_id, phase FROM attribute.occurrences WHERE phase = 'decode' AND is_measured
),
graph AS (
    SELECT
        d.occurrence_id, w.graph_node_id >> 32 AS graph_id, count(DISTINCT w.api_id) AS launches,
        sum(w.end_ns - w.start_ns) AS time_ns, avg(w.end_ns - w.start_ns) AS launch_ns
    FROM attribute.gpu_work AS w JOIN decode AS d USING (occurrence_id)
    WHERE w.kind = 'graph'
    GROUP BY d.occurrence_id, graph_id, w.process_key, w.device_id
),
longest AS (
    SELECT occurrence_id, max_by(launches, (launch_ns, graph_id)) AS launches FROM graph GROUP BY occurrence_id
),
-- Every graph that is launched as often.
pass AS (
    SELECT occurrence_id, launches, sum(g.time_ns) AS time_ns
    FROM longest JOIN graph AS g USING (occurrence_id, launches)
    GROUP BY occurrence_id, launches
),
worked AS (
    SELECT occurrence_id, sum(kernel_time_ns + memcpy_time_ns + memset_time_ns + graph_time_ns) AS time_ns
    FROM attribute.work_by_occurrence SEMI JOIN decode USING (occurrence_id)
    GROUP BY occurrence_id
)
SELECT d.phase, avg(p.launches) FILTER (2 * p.time_ns >= w.time_ns) AS passes
FROM decode AS d
LEFT JOIN pass AS p USING (occurrence_id)
LEFT JOIN worked AS w USING (occurrence_id)
GROUP BY d.phase
HAVING 2 * count(*) FILTER (2 * p.time_ns >= w.time_ns) >= count(*)
