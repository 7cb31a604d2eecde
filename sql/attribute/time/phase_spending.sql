-- What the measured time of each phase was spent on, side by side: what findings weigh a cause against.
-- Grain: phase, which is NULL outside every phase.
-- materialize: table
-- requires: attribute.occurrence_times, attribute.phase_ranges
-- columns:
--   phase      VARCHAR Its name, or NULL.
--   place      VARCHAR Its name in a sentence.
--   step_count BIGINT  Occurrences with measured time, 1 outside every phase.
--   compute_ns BIGINT  Time of the class of time_budget. Unit: ns.
--   transfer_ns BIGINT The same. Unit: ns.
--   wait_ns    BIGINT  The same. Unit: ns.
--   copy_ns    BIGINT  The same. Unit: ns.
--   launch_ns  BIGINT  The same. Unit: ns.
--   latency_ns BIGINT  The same. Unit: ns.
--   sync_ns    BIGINT  The same. Unit: ns.
--   api_ns     BIGINT  The same. Unit: ns.
--   host_ns    BIGINT  The same. Unit: ns.
--   phase_ns   BIGINT  All classes of the phase. Unit: ns.
--   all_ns     BIGINT  All classes of all phases, and of what is outside. Unit: ns.
--   least_ns   BIGINT  A hundredth of all_ns: what is less is not worth doing first. Unit: ns.
WITH spent AS (
    SELECT p.phase, t.occurrence_id, t.class, t.time_ns
    FROM attribute.occurrence_times AS t LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
)
SELECT
    phase, coalesce(phase, 'what is outside every phase') AS place,
    greatest(1, count(DISTINCT occurrence_id)) AS step_count,
    coalesce(sum(time_ns) FILTER (WHERE class = 'compute'), 0)::BIGINT AS compute_ns,
    coalesce(sum(time_ns) FILTER (WHERE class = 'transfer'), 0)::BIGINT AS transfer_ns,
    coalesce(sum(time_ns) FILTER (WHERE class = 'wait'), 0)::BIGINT AS wait_ns,
    coalesce(sum(time_ns) FILTER (WHERE class = 'copy'), 0)::BIGINT AS copy_ns,
    coalesce(sum(time_ns) FILTER (WHERE class = 'launch'), 0)::BIGINT AS launch_ns,
    coalesce(sum(time_ns) FILTER (WHERE class = 'latency'), 0)::BIGINT AS latency_ns,
    coalesce(sum(time_ns) FILTER (WHERE class = 'sync'), 0)::BIGINT AS sync_ns,
    coalesce(sum(time_ns) FILTER (WHERE class = 'api'), 0)::BIGINT AS api_ns,
    coalesce(sum(time_ns) FILTER (WHERE class = 'host'), 0)::BIGINT AS host_ns,
    sum(time_ns)::BIGINT AS phase_ns, (sum(sum(time_ns)) OVER ())::BIGINT AS all_ns,
    (sum(sum(time_ns)) OVER () / 100)::BIGINT AS least_ns
FROM spent
GROUP BY phase
