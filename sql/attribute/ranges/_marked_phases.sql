-- One row per range that GPU work may belong to as a phase; attribute.phase_ranges has those of them that count.
-- Where no range is a phase, or `--infer` says so, they are the phases that were inferred from the launches.
-- A range that encloses ranges of its own phase is a loop around them: what lies between them is in no phase.
-- A warm-up range without phases inside is a phase called `warmup`, unless phases were inferred. What the markers themselves ask a GPU
-- for is a phase `llmperf`, and left out as warm-up is.
-- Grain: occurrence_id.
-- materialize: table
-- requires: attribute._phase_candidates, attribute._warmup_phases, attribute._request_segments, attribute._warmup_segments, attribute._inferred_phases, attribute.inference
-- columns:
--   occurrence_id BIGINT   The range. Joins load.nvtx_ranges on range_id, or attribute._inferred_phases.
--   phase         VARCHAR  'prefill', 'decode', or the name that the rule gives.
--   kind          VARCHAR  'push_pop' or 'start_end'.
--   process_key   BIGINT   Joins load.processes.
--   global_tid    BIGINT   Thread that opened it. Joins load.threads.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
--   is_closed     BOOLEAN  False where it was still open when the recording ended.
--   is_warmup     BOOLEAN  Whether a `warmup` range of its thread encloses it, or is it, or it is the markers' own.
--   is_container  BOOLEAN  Whether it only groups other phases, and has the rest of their work alone.
--   request_id    BIGINT   Innermost `request` range of its thread around it. Joins load.nvtx_ranges, else NULL.
--   new_tokens    BIGINT   Tokens through the model as the range's own text states them, else NULL. Unit: tokens.
WITH step AS (
    SELECT *
    FROM attribute._phase_candidates
    WHERE NOT (SELECT is_forced FROM attribute.inference)
    -- The earliest end of what starts later is inside it: then it encloses that.
    QUALIFY NOT coalesce(
        min(CASE WHEN kind = 'push_pop' THEN end_ns END) OVER (
            PARTITION BY global_tid, phase ORDER BY start_ns, end_ns DESC, range_id
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ) <= end_ns,
        false
    )
),
occurrence AS (
    SELECT
        range_id, phase, kind, process_key, global_tid, start_ns, end_ns, is_closed, is_container, new_tokens,
        phase = 'llmperf' AS is_warmup, start_ns AS place_ns
    FROM step
    UNION ALL
    SELECT range_id, 'warmup', kind, process_key, global_tid, start_ns, end_ns, is_closed, false, NULL, true, start_ns
    FROM attribute._warmup_phases
    WHERE NOT (SELECT is_forced FROM attribute.inference) AND NOT EXISTS (FROM attribute._inferred_phases)
    UNION ALL
    -- One begins where the one before it ends, which may be in another request.
    SELECT
        occurrence_id, phase, 'push_pop', process_key, global_tid, start_ns, end_ns, true, false, NULL, false,
        place_ns
    FROM attribute._inferred_phases
),
grouped AS (
    SELECT
        * REPLACE (
            is_container AND coalesce(
                lead(start_ns) OVER (PARTITION BY global_tid ORDER BY start_ns, end_ns DESC, range_id) < end_ns, false
            ) AS is_container
        )
    FROM occurrence
)
SELECT
    p.range_id AS occurrence_id, p.phase, p.kind, p.process_key, p.global_tid, p.start_ns, p.end_ns, p.is_closed,
    p.is_warmup OR w.span_id IS NOT NULL AS is_warmup,
    p.is_container,
    q.span_id AS request_id,
    p.new_tokens
FROM grouped AS p
ASOF LEFT JOIN attribute._warmup_segments AS w
    ON w.lane = p.global_tid AND w.start_ns <= p.place_ns
ASOF LEFT JOIN attribute._request_segments AS q
    ON q.lane = p.global_tid AND q.start_ns <= p.place_ns
