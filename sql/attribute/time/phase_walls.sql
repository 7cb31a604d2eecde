-- Host time of each phase by three measures: added up over threads, elapsed, and as seen from the GPUs it uses.
-- Ranges of one thread that overlap count once in each of them.
-- Grain: phase.
-- materialize: table
-- requires: attribute.occurrences, attribute._host_intervals, attribute._phase_open_intervals, macros.busy_ns
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
WITH host AS (
    SELECT p.phase, p.global_tid, p.is_warmup, p.is_left_cold, h.start_ns, h.end_ns
    FROM attribute.occurrences AS p JOIN attribute._host_intervals AS h USING (occurrence_id)
),
-- One union of intervals for all measures: DuckDB plans five of them in five times the time.
measured AS (
    SELECT {'what': 'wall', 'phase': phase, 'lane': global_tid} AS group_id, start_ns, end_ns FROM host
    UNION ALL
    SELECT {'what': 'warmup', 'phase': phase, 'lane': global_tid}, start_ns, end_ns FROM host WHERE is_warmup
    UNION ALL
    SELECT {'what': 'cold', 'phase': phase, 'lane': global_tid}, start_ns, end_ns FROM host WHERE is_left_cold
    UNION ALL
    -- Whatever their thread.
    SELECT {'what': 'elapsed', 'phase': phase, 'lane': 0}, start_ns, end_ns FROM host
    UNION ALL
    SELECT {'what': 'open', 'phase': phase, 'lane': device_id}, start_ns, end_ns FROM attribute._phase_open_intervals
),
busy AS (
    SELECT
        group_id.phase AS phase, sum(busy_ns) FILTER (group_id.what = 'wall')::BIGINT AS wall_ns,
        coalesce(sum(busy_ns) FILTER (group_id.what = 'warmup'), 0)::BIGINT AS warmup_wall_ns,
        coalesce(sum(busy_ns) FILTER (group_id.what = 'cold'), 0)::BIGINT AS cold_wall_ns,
        sum(busy_ns) FILTER (group_id.what = 'elapsed')::BIGINT AS elapsed_ns,
        coalesce(sum(busy_ns) FILTER (group_id.what = 'open'), 0)::BIGINT AS gpu_open_ns
    FROM macros.busy_ns('measured')
    GROUP BY group_id.phase
)
SELECT
    o.phase, count(*) AS occurrences, count(*) FILTER (WHERE o.is_warmup) AS warmup_occurrences,
    count(*) FILTER (WHERE o.is_left_cold) AS cold_occurrences, count(DISTINCT o.global_tid) AS thread_count,
    any_value(b.wall_ns) AS wall_ns, any_value(b.warmup_wall_ns) AS warmup_wall_ns, any_value(b.cold_wall_ns) AS cold_wall_ns,
    any_value(b.elapsed_ns) AS elapsed_ns, any_value(b.gpu_open_ns) AS gpu_open_ns, min(o.start_ns) AS first_start_ns
FROM attribute.occurrences AS o JOIN busy AS b USING (phase)
GROUP BY o.phase
