-- Host time of each phase by three measures: added up over threads, elapsed, and as seen from the GPUs it uses.
-- Ranges of one thread that overlap count once in each of them.
-- Grain: phase.
-- materialize: table
-- requires: attribute.occurrences, attribute._host_intervals, attribute.work_by_occurrence, macros.busy_ns
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
    SELECT p.phase, p.global_tid, p.is_warmup, p.is_left_cold, p.is_measured, h.start_ns, h.end_ns
    FROM attribute.occurrences AS p JOIN attribute._host_intervals AS h USING (occurrence_id)
),
used AS (
    SELECT DISTINCT p.phase, p.global_tid, coalesce(w.device_id, 0) AS device_id
    FROM attribute.work_by_occurrence AS w JOIN attribute.occurrences AS p USING (occurrence_id)
),
-- By thread, by GPU, or whatever the thread.
opened AS (
    SELECT {'phase': phase, 'of': 'thread', 'id': global_tid} AS group_id, start_ns, end_ns FROM host
    UNION ALL SELECT {'phase': phase, 'of': 'warmup', 'id': global_tid}, start_ns, end_ns FROM host WHERE is_warmup
    UNION ALL SELECT {'phase': phase, 'of': 'cold', 'id': global_tid}, start_ns, end_ns FROM host WHERE is_left_cold
    UNION ALL SELECT {'phase': phase, 'of': 'all', 'id': NULL}, start_ns, end_ns FROM host
    UNION ALL SELECT {'phase': phase, 'of': 'gpu', 'id': device_id}, start_ns, end_ns FROM host JOIN used USING (phase, global_tid) WHERE is_measured
),
measured AS (
    SELECT
        group_id.phase AS phase, sum(busy_ns) FILTER (group_id.of = 'thread')::BIGINT AS wall_ns,
        coalesce(sum(busy_ns) FILTER (group_id.of = 'warmup'), 0)::BIGINT AS warmup_wall_ns,
        coalesce(sum(busy_ns) FILTER (group_id.of = 'cold'), 0)::BIGINT AS cold_wall_ns,
        sum(busy_ns) FILTER (group_id.of = 'all')::BIGINT AS elapsed_ns,
        coalesce(sum(busy_ns) FILTER (group_id.of = 'gpu'), 0)::BIGINT AS gpu_open_ns
    FROM macros.busy_ns('opened')
    GROUP BY ALL
)
SELECT
    o.phase, count(*) AS occurrences, count(*) FILTER (WHERE o.is_warmup) AS warmup_occurrences,
    count(*) FILTER (WHERE o.is_left_cold) AS cold_occurrences, count(DISTINCT o.global_tid) AS thread_count, m.wall_ns,
    m.warmup_wall_ns, m.cold_wall_ns, m.elapsed_ns, m.gpu_open_ns, min(o.start_ns) AS first_start_ns
FROM attribute.occurrences AS o JOIN measured AS m USING (phase)
GROUP BY ALL
