-- How many tokens the sequences of a batch in `generate` wrote, as the mark behind the request says, for each step in which some may
-- have ended: those that wrote no more than they had before it are padding in it.
-- Grain: occurrence_id; steps of requests without such a mark are absent.
-- empty without: load.nvtx_marks
-- requires: load.nvtx_marks, attribute.step_marks, attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   written       BIGINT   Tokens that each sequence had before the step. Unit: tokens.
--   tokens        BIGINT[] Tokens that each wrote in all, in the order of the batch. Unit: tokens.
WITH request AS (
    SELECT
        process_key, TRY_CAST(json_extract(payload, '$.request') AS BIGINT) AS request,
        any_value(TRY_CAST(json_extract(payload, '$.tokens') AS BIGINT[])) AS tokens
    FROM (
        SELECT process_key, TRY_CAST(substr("text", 17) AS JSON) AS payload
        FROM load.nvtx_marks
        WHERE starts_with("text", 'llmperf.written {')
    )
    GROUP BY ALL
    -- A number that two processes of one pid have says nothing.
    HAVING count(*) = 1
),
step AS (
    SELECT
        p.process_key, m.occurrence_id, TRY_CAST(json_extract(m.payload, '$.request') AS BIGINT) AS request,
        TRY_CAST(json_extract(m.payload, '$.written') AS BIGINT) AS written
    FROM (
        SELECT occurrence_id, TRY_CAST(substr("text", 14) AS JSON) AS payload
        FROM attribute.step_marks
        WHERE contains("text", '"written":')
    ) AS m
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
)
SELECT s.occurrence_id, s.written, r.tokens
FROM step AS s JOIN request AS r ON r.process_key = s.process_key AND r.request = s.request
WHERE s.written IS NOT NULL AND r.tokens IS NOT NULL
