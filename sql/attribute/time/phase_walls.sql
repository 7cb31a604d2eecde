-- Host time of each phase by three measures: added up over threads, elapsed, and as seen from the GPUs it uses.
-- Ranges of one thread that overlap count once in each of them.
-- Grain: phase.
-- materialize: table
-- requires: attribute.occurrences, attribute._phase_wall_intervals, attribute._warmup_wall_intervals, attribute._cold_wall_intervals, attribute._phase_elapsed_intervals, attribute._phase_open_intervals, macros.busy_ns
-- columns:
--   phase              VARCHAR  Name of the phase.
--   occurrences        BIGINT   Ranges, warm-up included.
--   warmup_occurrences BIGINT   Ranges inside warm-up.
--   cold_occurrences   BIGINT   Ranges that are cold, and left out for that.
--   thread_count       BIGINT   Threads that have such ranges.
--   wall_ns            BIGINT   Host time inside them, added up over threads. Unit: ns.
--   warmup_wall_ns     BIGINT   Host time of warm-up, part of wall_ns. Unit: ns.
--   cold_wall_ns       BIGINT   Host time of cold ranges that are left out, part of wall_ns. Unit: ns.
--   elapsed_ns         BIGINT   Time in which at least one of them is open, on whichever thread. Unit: ns.
--   gpu_open_ns        BIGINT   For each GPU, time in which a range is open on a thread that gives it work of the phase,
--                               added up over GPUs, warm-up and cold ranges left out. Unit: ns.
--   first_start_ns     BIGINT   Start of the first of them. Unit: ns.
WITH wall AS (
    SELECT json_extract_string(group_id, '$[0]') AS phase, sum(busy_ns)::BIGINT AS wall_ns
    FROM macros.busy_ns('attribute._phase_wall_intervals')
    GROUP BY ALL
),
warmup AS (
    SELECT json_extract_string(group_id, '$[0]') AS phase, sum(busy_ns)::BIGINT AS wall_ns
    FROM macros.busy_ns('attribute._warmup_wall_intervals')
    GROUP BY ALL
),
cold AS (
    SELECT json_extract_string(group_id, '$[0]') AS phase, sum(busy_ns)::BIGINT AS wall_ns
    FROM macros.busy_ns('attribute._cold_wall_intervals')
    GROUP BY ALL
),
elapsed AS (
    SELECT group_id AS phase, busy_ns AS elapsed_ns FROM macros.busy_ns('attribute._phase_elapsed_intervals')
),
gpu AS (
    SELECT json_extract_string(group_id, '$[0]') AS phase, sum(busy_ns)::BIGINT AS gpu_open_ns
    FROM macros.busy_ns('attribute._phase_open_intervals')
    GROUP BY ALL
)
SELECT
    phase, count(*) AS occurrences, count(*) FILTER (WHERE is_warmup) AS warmup_occurrences,
    count(*) FILTER (WHERE is_left_cold) AS cold_occurrences,
    count(DISTINCT global_tid) AS thread_count, any_value(wall.wall_ns) AS wall_ns,
    coalesce(any_value(warmup.wall_ns), 0) AS warmup_wall_ns,
    coalesce(any_value(cold.wall_ns), 0) AS cold_wall_ns, any_value(elapsed.elapsed_ns) AS elapsed_ns,
    coalesce(any_value(gpu.gpu_open_ns), 0) AS gpu_open_ns, min(start_ns) AS first_start_ns
FROM attribute.occurrences
JOIN wall USING (phase)
JOIN elapsed USING (phase)
LEFT JOIN warmup USING (phase)
LEFT JOIN cold USING (phase)
LEFT JOIN gpu USING (phase)
GROUP BY phase
