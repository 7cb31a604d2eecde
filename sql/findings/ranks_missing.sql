-- Ranks of the job that are not in the trace.
-- Grain: one row, none where every rank is there, or where nothing says how many there are.
-- severity: warning
-- message: the job has {world:,} ranks, and the trace has {present:,} of them: {missing} missing
-- hint: sums over GPUs, waiting and stragglers are about the ranks that are there; put the other traces into the same directory
-- concerns: attribute.collectives, views.ranks
-- empty without: load.ranks WHERE world > 1
-- requires: load.ranks
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: nobody knows what they did. Unit: ns.
--   world       BIGINT  Ranks of the job, as the run marks say.
--   present     BIGINT  Ranks in the trace.
--   missing     VARCHAR The first of those that are not.
WITH job AS (
    SELECT max(world) AS world, count(DISTINCT rank) AS present, list(DISTINCT rank) AS ranks
    FROM load.ranks
    WHERE rank IS NOT NULL
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, world, present,
    'rank ' || array_to_string(list_filter(range(world), lambda r: NOT list_contains(ranks, r))[:5], ', ')
        || CASE WHEN world - present > 5 THEN ', …' ELSE '' END AS missing
FROM job
WHERE world > present
