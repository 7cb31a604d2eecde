-- Passes of one request and one token on ranks that have batches of their own: some may be dummies, which only keep the other ranks company.
-- Algorithm: TensorRT-LLM's text counts requests, its dummies included, and each rank has its own text. Where ranks share a batch, the texts of
-- passes that run at once are equal.
-- Grain: phase.
-- severity: info
-- message: {pass_count:,} passes of {phase} have one request of one token, while another rank has a batch of its own: TensorRT-LLM does not say
--   which of them are dummies that keep other ranks company, so that tokens, FLOPs and what they are at least may hold dummies
-- hint: an idle rank of attention data parallelism runs one in each step; the other ranks' rows of `occurrences` are without them
-- concerns: estimate.occurrence_costs
-- empty without: load.range_names WHERE contains(name, '[Executor] ')
-- requires: load.nvtx_ranges, attribute.occurrences
-- columns:
--   phase       VARCHAR Its phase.
--   at_stake_ns BIGINT  NULL: no time is at stake. Unit: ns.
--   pass_count  BIGINT  Such passes outside warm-up.
WITH pass AS (
    SELECT
        o.occurrence_id, o.phase, o.is_measured, o.process_key, o.start_ns, o.end_ns,
        regexp_extract(r.name, '\[Executor\] _forward_step(?: \d+)?: (.*)$', 1) AS batch
    FROM attribute.occurrences AS o JOIN load.nvtx_ranges AS r ON r.range_id = o.occurrence_id
    WHERE r.name LIKE '%[Executor] _forward_step%'
),
lone AS (
    FROM pass WHERE regexp_matches(batch, '^(1 ctx reqs, 1 ctx tokens, 0|0 ctx reqs, (0 ctx tokens, )?1) gen reqs')
)
SELECT l.phase, NULL::BIGINT AS at_stake_ns, count(*) AS pass_count
FROM lone AS l
WHERE l.is_measured AND EXISTS (
    FROM pass AS p
    WHERE p.process_key <> l.process_key AND p.batch <> l.batch AND p.start_ns < l.end_ns AND p.end_ns > l.start_ns
)
GROUP BY l.phase
