-- What each request was asked: the shape of its prompt.
-- Grain: request_id; requests without a prefill are absent.
-- empty without: attribute.phase_ranges WHERE phase = 'prefill' AND request_id IS NOT NULL
-- requires: attribute.phase_ranges, attribute.request_times, input.occurrence_shapes, input.shapes
-- columns:
--   request_id BIGINT  Joins load.nvtx_ranges on range_id.
--   shape      VARCHAR batch x prompt tokens, over all of its chunks; NULL where it is not known, or where chunks do not add up
--                      to one, or are several prompts.
SELECT
    p.request_id,
    CASE
        WHEN coalesce(bool_or(t.has_several_prompts), false) THEN NULL
        WHEN count(*) = 1 THEN any_value(s.kind)
        WHEN count(s.kind) = count(*) AND min(s.batch) = max(s.batch) AND NOT bool_or(contains(s.kind, '..'))
            THEN min(s.batch) || 'x' || (sum(s.new_tokens) // min(s.batch))::BIGINT
    END AS shape
FROM attribute.phase_ranges AS p
LEFT JOIN input.occurrence_shapes AS o USING (occurrence_id)
LEFT JOIN input.shapes AS s USING (shape_id)
LEFT JOIN attribute.request_times AS t USING (request_id)
WHERE p.phase = 'prefill' AND p.request_id IS NOT NULL
GROUP BY p.request_id
