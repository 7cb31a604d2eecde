-- Collectives that are matched by the order of kernels alone and end far apart: ranks of several communicators look like one.
-- Algorithm: a reduction and a gather end on all of their ranks within moments. Where the n-th kernels of what looks like a communicator
-- mostly end further apart than a fifth of the shortest one, and than 20 µs, some of its ranks do not talk to each other.
-- Grain: group_id.
-- severity: warning
-- message: {kinds} of {ranks:,} ranks are matched by the order of their kernels, which end {apart_ns:ms} apart in the median: several groups of ranks
--   look like one (shards and their replicas, tensor-parallel groups), so that who waits, for whom and for how long is not known
-- hint: NCCL names the communicators in payloads of its ranges: exports of `llmperf capture` hold them, others with `nsys export --include-blobs=true`
-- concerns: attribute.collectives, attribute.collective_waits
-- empty without: attribute._communication
-- requires: attribute.collectives
-- columns:
--   phase       VARCHAR NULL: communicators are of the whole trace.
--   at_stake_ns BIGINT  The waiting that is in doubt, added up over ranks. Unit: ns.
--   group_id    BIGINT  The communicator.
--   kinds       VARCHAR What it runs.
--   ranks       BIGINT  Ranks that are taken as one communicator.
--   apart_ns    BIGINT  From the first end to the last one, in the median. Unit: ns.
WITH collective AS (
    SELECT
        group_id, number, any_value(kind) AS kind, any_value(rank_count) AS ranks, max(end_ns) - min(end_ns) AS apart_ns,
        min(end_ns - start_ns) AS shortest_ns, sum(wait_ns) AS wait_ns
    FROM attribute.collectives
    WHERE rank_count >= 4 AND communicator IS NULL AND wait_ns IS NOT NULL AND kind IN ('all_reduce', 'all_gather', 'reduce_scatter')
    GROUP BY group_id, number
)
SELECT
    NULL::VARCHAR AS phase, coalesce(sum(wait_ns), 0)::BIGINT AS at_stake_ns, group_id, string_agg(DISTINCT kind, ', ' ORDER BY kind) AS kinds,
    any_value(ranks) AS ranks, median(apart_ns)::BIGINT AS apart_ns
FROM collective
GROUP BY group_id
HAVING median(apart_ns) > 20000 AND median(apart_ns) > 0.2 * median(shortest_ns)
