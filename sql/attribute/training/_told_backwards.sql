-- Backwards whose mark says which forward passes they went through, as `--auto` knows it from the gradients of what these returned.
-- Grain: occurrence_id; absent where a pass that is named is not in the trace.
-- materialize: table
-- empty without: load.nvtx_marks
-- requires: load.nvtx_marks, attribute._phase_segments, attribute.step_marks, attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   forward_ids   BIGINT[] Occurrences of the passes, in order; empty if they are none of the model's.
WITH mark AS (
    SELECT
        process_key, global_tid, at_ns,
        TRY_CAST(json_extract(TRY_CAST(substr("text", 18) AS JSON), '$.of') AS BIGINT[]) AS numbers
    FROM load.nvtx_marks
    WHERE starts_with("text", 'llmperf.backward {')
),
backward AS (
    SELECT s.occurrence_id, any_value(m.process_key) AS process_key, arg_max(m.numbers, m.at_ns) AS numbers
    FROM mark AS m
    ASOF JOIN attribute._phase_segments AS s ON s.global_tid = m.global_tid AND s.start_ns <= m.at_ns
    WHERE s.occurrence_id IS NOT NULL AND m.numbers IS NOT NULL
    GROUP BY s.occurrence_id
),
pass AS (
    SELECT
        p.process_key, p.occurrence_id, p.start_ns,
        TRY_CAST(json_extract(TRY_CAST(substr(m."text", 14) AS JSON), '$.pass') AS BIGINT) AS number
    FROM attribute.step_marks AS m JOIN attribute.phase_ranges AS p USING (occurrence_id)
    WHERE contains(m."text", '"pass":') AND p.phase = 'forward'
),
named AS (
    SELECT b.occurrence_id, list(p.occurrence_id ORDER BY p.start_ns, p.occurrence_id) AS forward_ids
    FROM (SELECT occurrence_id, process_key, unnest(numbers) AS number FROM backward) AS b
    JOIN pass AS p ON p.process_key = b.process_key AND p.number = b.number
    GROUP BY b.occurrence_id
)
SELECT b.occurrence_id, coalesce(n.forward_ids, []) AS forward_ids
FROM backward AS b LEFT JOIN named AS n USING (occurrence_id)
WHERE len(b.numbers) = coalesce(len(n.forward_ids), 0)
