-- Steps of an engine that do not say which requests they serve.
-- Grain: one row, where there are some and no step says it.
-- severity: info
-- message: {step_count:,} steps of an engine do not say which requests they serve: there are no requests, TTFT, TPOT and goodput,
--   the views served_requests and served_summary are empty, and served_steps has no more than the texts of the ranges say
-- hint: record with `llmperf capture --auto` or `--profile`, whose marks name them
-- concerns: attribute.served_request_times
-- empty without: input.range_roles WHERE regexp_matches(rule, '^(vllm|sglang|tensorrt-llm)-')
-- requires: input.range_roles, load.nvtx_ranges, attribute.phase_ranges, attribute._step_marks
-- columns:
--   phase       VARCHAR NULL.
--   at_stake_ns BIGINT  NULL. Unit: ns.
--   step_count  BIGINT  Such steps.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(*) AS step_count
FROM attribute.phase_ranges AS p
JOIN load.nvtx_ranges AS r ON r.range_id = p.occurrence_id
JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
WHERE regexp_matches(m.rule, '^(vllm|sglang|tensorrt-llm)-') AND NOT EXISTS (FROM attribute._step_marks)
HAVING step_count > 0
