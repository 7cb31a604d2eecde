-- Decode steps of engines that replay CUDA graphs of larger batches than they have: what pads them is computed, and nothing counts it.
-- Engines say which sizes they record; of vLLM, where it does not, those of its default: 1, 2, 4, multiples of 8 to 256, and of 16 to 512.
-- Grain: phase.
-- severity: info
-- message: {step_count:,} of {of:,} steps of {phase} have batches that no CUDA graph is recorded for{by_default}, and replay that of a larger
--   one: {padding:,} of the {computed:,} sequences that they compute are padding. No number has them but the time: executed FLOPs and HFU
--   are that much too low, and weights of experts that padding alone chooses are not in bytes and MBU
-- hint: record graphs for the batches that there are (`cuda_graph_sizes` of vLLM, `--cuda-graph-bs` of SGLang)
-- concerns: estimate.occurrence_costs
-- empty without: attribute.step_sequences
-- requires: attribute.step_sequences, attribute.occurrences, attribute.gpu_work, estimate.phase_costs, load.nvtx_marks
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  NULL: nothing says how long padding takes. Unit: ns.
--   step_count  BIGINT  Steps whose batch is padded.
--   of          BIGINT  Steps that replay a graph.
--   by_default  VARCHAR Says that the sizes are those of the engine's default; '' if the run says them.
--   padding     BIGINT  Sequences that pad them.
--   computed    BIGINT  Sequences of these steps, padding included.
WITH run AS (
    SELECT process_key, TRY_CAST(substr("text", 13) AS JSON) AS run FROM load.nvtx_marks WHERE starts_with("text", 'llmperf.run {')
),
told AS (
    SELECT
        process_key, any_value(json_extract_string(run, '$.framework')) AS framework,
        any_value(TRY_CAST(json_extract(run, '$.graph_sizes') AS BIGINT[])) AS sizes
    FROM run
    GROUP BY process_key
),
replay AS (SELECT DISTINCT occurrence_id FROM attribute.gpu_work WHERE kind = 'graph' OR graph_node_id IS NOT NULL),
step AS (
    SELECT s.occurrence_id, s.process_key, count(*) AS sequences
    FROM attribute.step_sequences AS s SEMI JOIN replay USING (occurrence_id)
    GROUP BY s.occurrence_id, s.process_key
    HAVING max(s.new_tokens) = 1
),
sized AS (
    SELECT
        p.phase, s.sequences, t.sizes IS NULL AS is_default,
        CASE
            WHEN t.sizes IS NOT NULL THEN list_min(list_filter(t.sizes, lambda x: x >= s.sequences))
            WHEN t.framework = 'vllm' AND s.sequences <= 512 THEN
                CASE
                    WHEN s.sequences < 3 THEN s.sequences
                    WHEN s.sequences < 5 THEN 4
                    WHEN s.sequences <= 256 THEN (s.sequences + 7) // 8 * 8
                    ELSE (s.sequences + 15) // 16 * 16
                END
        END AS computed
    FROM step AS s
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN told AS t ON t.process_key = s.process_key
    SEMI JOIN (SELECT phase FROM estimate.phase_costs WHERE executed_flops > 0) AS c ON c.phase = p.phase
    WHERE p.is_measured AND p.phase = 'decode'
)
SELECT
    phase, NULL::BIGINT AS at_stake_ns, count(*) FILTER (WHERE computed > sequences) AS step_count, count(*) AS of,
    CASE WHEN bool_or(is_default AND computed > sequences) THEN ' by default' ELSE '' END AS by_default,
    (sum(computed - sequences) FILTER (WHERE computed > sequences))::BIGINT AS padding,
    (sum(computed) FILTER (WHERE computed > sequences))::BIGINT AS computed
FROM sized
GROUP BY phase
HAVING step_count > 0
