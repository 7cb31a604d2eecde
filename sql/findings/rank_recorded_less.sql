-- A rank of a job whose GPU work spans far less time than that of the others: its recording was cut.
-- Nine tenths of the median of all ranks. Spans are lengths: clocks play no part.
-- Grain: process_key.
-- severity: warning
-- message: {what} has {span_ns:ms} of GPU work from its first operation to its last, and half of the ranks have {median_ns:ms} or more: its
--   recording begins late or ends early
-- hint: sums over ranks lack the rest; `--from` and `--to` cut all ranks to the time that they share
-- concerns: views.ranks, views.phase_summary, attribute.collectives
-- empty without: load.ranks WHERE world > 1
-- requires: load.ranks
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: nobody knows what is missing. Unit: ns.
--   process_key BIGINT  Joins load.ranks.
--   what        VARCHAR The rank, or its process.
--   span_ns     BIGINT  From the start of its first GPU operation to the end of its last. Unit: ns.
--   median_ns   BIGINT  The median of that over ranks. Unit: ns.
WITH told AS (
    SELECT
        process_key, rank, last_end_ns - first_start_ns AS span_ns, median(last_end_ns - first_start_ns) OVER ()::BIGINT AS median_ns,
        max(world) OVER () AS world
    FROM load.ranks
    WHERE rank IS NOT NULL AND first_start_ns IS NOT NULL
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, process_key, 'rank ' || rank AS what, span_ns, median_ns
FROM told
WHERE span_ns < 0.9 * median_ns AND world > 1
