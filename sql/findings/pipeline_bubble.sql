-- Stages of a pipeline that wait for each other in training steps: a tenth of the steps' time.
-- A step of m micro-batches through p stages takes m + p - 1 of the time that one micro-batch takes a stage, so each stage waits for
-- at least (p - 1) / (m + p - 1) of it: of a pass of all micro-batches forward and then backward, and of 1F1B.
-- Grain: one row at most.
-- severity: info
-- message: GPUs of {stages:,} pipeline stages wait for each other for {share:%} of the time of their training steps ({ranks}): {start_ns:ms} a
--   step before their first pass, {between_ns:ms} between passes and {end_ns:ms} after the last{expected}
-- hint: more micro-batches a step, or a schedule with several parts of the model on each GPU (interleaved, zero-bubble), wait less; if it
--   is far more than that, stages differ in work: `llmperf sql TRACE "from rank_summary"` has the compute of each
-- empty without: attribute.pipeline_waits
-- requires: attribute.pipeline_waits, attribute.training_step_spans, load.ranks, input.model, macros.rank_words
-- columns:
--   phase       VARCHAR NULL: it is about whole steps, whose receives may lie outside of every phase and of the budget.
--   at_stake_ns BIGINT  The waiting, added up over GPUs. Unit: ns.
--   share       DOUBLE  at_stake_ns of the time of the steps.
--   stages      BIGINT  Stages of the pipeline.
--   ranks       VARCHAR The share of each rank, or of the four with most.
--   start_ns    BIGINT  A mean step's waiting of a rank before its first compute. Unit: ns.
--   between_ns  BIGINT  The same between its passes. Unit: ns.
--   end_ns      BIGINT  The same after its last pass. Unit: ns.
--   expected    VARCHAR What the schedule alone makes, or '' if steps have different numbers of micro-batches.
WITH waited AS (
    SELECT
        process_key, sum(wait_ns) AS wait_ns, sum(wait_ns) FILTER (place = 'start') AS start_ns,
        sum(wait_ns) FILTER (place = 'between') AS between_ns, sum(wait_ns) FILTER (place = 'end') AS end_ns
    FROM attribute.pipeline_waits
    GROUP BY process_key
),
trained AS (
    SELECT
        process_key, count(*) AS steps, sum(end_ns - start_ns) AS wall_ns, min(micro_batches) AS least, max(micro_batches) AS most
    FROM attribute.training_step_spans
    WHERE is_measured
    GROUP BY process_key
),
stage AS (
    SELECT
        t.*, macros.rank_words(r.rank, t.process_key) AS name, r.rank,
        coalesce(w.wait_ns, 0) AS wait_ns, coalesce(w.start_ns, 0) AS start_ns, coalesce(w.between_ns, 0) AS between_ns,
        coalesce(w.end_ns, 0) AS end_ns
    FROM trained AS t LEFT JOIN waited AS w USING (process_key) LEFT JOIN load.ranks AS r USING (process_key)
),
summed AS (
    SELECT
        count(*) AS ranks, sum(steps) AS steps, sum(wall_ns) AS wall_ns, sum(wait_ns) AS wait_ns, sum(start_ns) AS start_ns,
        sum(between_ns) AS between_ns, sum(end_ns) AS end_ns, min(least) AS least, max(most) AS most,
        string_agg(told, ', ' ORDER BY rank, name) FILTER (place <= 4) AS told
    FROM (
        SELECT
            *, row_number() OVER (ORDER BY wait_ns / wall_ns DESC, rank, name) AS place,
            format('{} {:.0f} %', name, 100.0 * wait_ns / wall_ns) AS told
        FROM stage
    )
)
SELECT
    NULL::VARCHAR AS phase, s.wait_ns::BIGINT AS at_stake_ns, s.wait_ns / s.wall_ns AS share, m.pp AS stages,
    s.told || CASE WHEN s.ranks > 4 THEN format(', {:,} more', s.ranks - 4) ELSE '' END AS ranks,
    (s.start_ns / s.steps)::BIGINT AS start_ns, (s.between_ns / s.steps)::BIGINT AS between_ns, (s.end_ns / s.steps)::BIGINT AS end_ns,
    CASE
        WHEN s.least = s.most
            THEN format('; {:,} micro-batches through {:,} stages alone make {:.0f} %', s.most, m.pp, 100.0 * (m.pp - 1) / (s.most + m.pp - 1))
        ELSE ''
    END AS expected
FROM summed AS s CROSS JOIN input.model AS m
WHERE 10 * s.wait_ns >= s.wall_ns AND s.wait_ns >= 1000000
