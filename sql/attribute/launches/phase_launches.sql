-- How the GPU work of each phase is launched, warm-up and cold occurrences left out.
-- Grain: phase.
-- requires: attribute.work_by_occurrence, attribute.occurrences
-- columns:
--   phase       VARCHAR Name of the phase.
--   per_step    DOUBLE  Launching calls of an occurrence, on average.
--   call_count  BIGINT  Launching calls of all of them.
--   gpu_count   DOUBLE  GPUs that an occurrence gives work, on average.
--   uses_graphs BOOLEAN Whether CUDA graphs launch most of it: four operations or more for each call, where other calls launch
--                       one, or whole graphs in half of the calls.
SELECT
    p.phase, sum(w.launch_call_count) / count(DISTINCT w.occurrence_id) AS per_step, sum(w.launch_call_count)::BIGINT AS call_count,
    count(*) / count(DISTINCT w.occurrence_id) AS gpu_count,
    sum(w.kernel_count + w.memcpy_count + w.memset_count) >= 4 * sum(w.launch_call_count)
        OR 2 * sum(w.graph_launch_count) >= sum(w.launch_call_count) AS uses_graphs
FROM attribute.work_by_occurrence AS w JOIN attribute.occurrences AS p USING (occurrence_id)
WHERE p.is_measured
GROUP BY p.phase
