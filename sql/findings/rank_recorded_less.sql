-- A rank of a job that has less than the others have: its recording was cut.
-- Algorithm: a rank with matched collectives has fewer of them than its communicators; one without has fewer training steps than
-- another rank; where nothing trains either, its GPU work spans less than nine tenths of the median of all ranks. A fiftieth, or a
-- single collective, is the edge of a recording. Only counts and lengths: clocks play no part.
-- Grain: a rank.
-- severity: warning
-- message: {what} has {less}: its recording begins late or ends early{alone}
-- hint: sums over ranks lack the rest; `--from` and `--to` cut all ranks to the time that they share
-- concerns: views.ranks, views.phase_summary, attribute.collectives
-- empty without: load.ranks WHERE rank IS NOT NULL
-- requires: load.ranks, attribute.collectives, attribute.training_step_spans
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: nobody knows what is missing. Unit: ns.
--   what        VARCHAR The rank, or its process.
--   less        VARCHAR What it has, and what the others have.
--   alone       VARCHAR Kernels of the others to which it has no partner, or ''.
WITH member AS (
    SELECT group_id, process_key, count(DISTINCT number) AS own
    FROM attribute.collectives
    WHERE group_id IS NOT NULL
    GROUP BY group_id, process_key
),
whole AS (
    SELECT group_id, count(DISTINCT number) AS every, count(*) FILTER (WHERE wait_ns IS NULL) AS alone
    FROM attribute.collectives
    WHERE group_id IS NOT NULL
    GROUP BY group_id
),
matched AS (
    SELECT
        m.process_key, sum(m.own)::BIGINT AS own, sum(w.every)::BIGINT AS every,
        sum(CASE WHEN m.own < w.every THEN w.alone ELSE 0 END)::BIGINT AS alone
    FROM member AS m JOIN whole AS w USING (group_id)
    GROUP BY m.process_key
),
trained AS (
    SELECT process_key, count(*) AS steps FROM attribute.training_step_spans GROUP BY process_key
),
told AS (
    SELECT
        r.process_key, r.rank, m.own, m.every, coalesce(m.alone, 0) AS alone, coalesce(t.steps, 0) AS steps, max(t.steps) OVER () AS most_steps,
        r.last_end_ns - r.first_start_ns AS span_ns, median(r.last_end_ns - r.first_start_ns) OVER ()::BIGINT AS median_ns,
        max(r.world) OVER () AS world
    FROM load.ranks AS r
    LEFT JOIN matched AS m USING (process_key)
    LEFT JOIN trained AS t USING (process_key)
    WHERE r.rank IS NOT NULL AND r.first_start_ns IS NOT NULL
),
judged AS (
    SELECT
        *,
        CASE
            WHEN own IS NOT NULL THEN
                CASE WHEN own < 0.98 * every AND own < every - 1
                    THEN format('{:,} of the {:,} collectives of its communicators', own, every) END
            WHEN world > 1 AND most_steps IS NOT NULL THEN
                CASE WHEN steps < 0.98 * most_steps THEN format('{:,} training steps, where others have {:,}', steps, most_steps) END
            WHEN world > 1 AND span_ns < 0.9 * median_ns THEN format(
                '{:,.1f} ms of GPU work from its first operation to its last, and half of the ranks have {:,.1f} ms or more',
                span_ns / 1e6, median_ns / 1e6
            )
        END AS less
    FROM told
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, 'rank ' || rank AS what, less,
    CASE WHEN alone > 0 THEN format('; {:,} kernels have no partner, and their waiting and transfer are not known', alone) ELSE '' END AS alone
FROM judged
WHERE less IS NOT NULL
