-- Stretches of each process with the one thread's phase that is open in them, for work launched from other threads.
-- Algorithm: every thread contributes +1 and its occurrence while a phase is innermost on it; where the running count
-- is 1, the running sum of occurrence numbers is the number of the only open one.
-- Grain: process_key, start_ns.
-- materialize: table
-- requires: attribute._phase_segments, input.overlay_segments
-- columns:
--   process_key   BIGINT  Joins load.processes.
--   start_ns      BIGINT  First instant. Unit: ns.
--   open_count    BIGINT  How many threads have a phase open.
--   occurrence_id BIGINT  That phase where there is exactly one, else NULL.
WITH piece AS (
    SELECT global_tid, start_ns, end_ns, occurrence_id FROM attribute._phase_segments
    WHERE occurrence_id IS NOT NULL
    UNION ALL
    SELECT global_tid, start_ns, end_ns, occurrence_id FROM input.overlay_segments
    WHERE occurrence_id IS NOT NULL
),
event AS (
    SELECT global_tid >> 24 AS process_key, start_ns AS at_ns, 1 AS delta, occurrence_id AS signed_id FROM piece
    UNION ALL
    SELECT global_tid >> 24, end_ns, -1, -occurrence_id FROM piece WHERE end_ns IS NOT NULL
),
instant AS (
    SELECT process_key, at_ns, sum(delta) AS delta, sum(signed_id) AS signed_id FROM event GROUP BY process_key, at_ns
),
running AS (
    SELECT
        process_key, at_ns,
        sum(delta) OVER sweep AS open_count,
        sum(signed_id) OVER sweep AS id_sum
    FROM instant
    WINDOW sweep AS (PARTITION BY process_key ORDER BY at_ns ROWS UNBOUNDED PRECEDING)
)
SELECT
    process_key, at_ns AS start_ns, open_count::BIGINT AS open_count,
    CASE WHEN open_count = 1 THEN id_sum::BIGINT END AS occurrence_id
FROM running
