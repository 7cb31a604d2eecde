-- Host wall time of each phase: the union of its ranges on each thread, added up over threads.
-- Grain: phase.
-- materialize: table
-- requires: attribute.phase_ranges, attribute._phase_wall_intervals, macros.busy_ns
-- columns:
--   phase              VARCHAR  Name of the phase.
--   occurrences        BIGINT   Ranges, warm-up included.
--   warmup_occurrences BIGINT   Ranges inside warm-up.
--   thread_count       BIGINT   Threads that have such ranges.
--   wall_ns            BIGINT   Host time inside them. Unit: ns.
WITH wall AS (
    SELECT json_extract_string(group_id, '$[0]') AS phase, sum(busy_ns)::BIGINT AS wall_ns
    FROM macros.busy_ns('attribute._phase_wall_intervals')
    GROUP BY ALL
)
SELECT
    phase, count(*) AS occurrences, count(*) FILTER (WHERE is_warmup) AS warmup_occurrences,
    count(DISTINCT global_tid) AS thread_count, any_value(wall.wall_ns) AS wall_ns
FROM attribute.phase_ranges JOIN wall USING (phase)
GROUP BY phase
