-- Calls of attribute.costly_calls added up by phase and what they do.
-- Grain: phase, what.
-- materialize: table
-- empty without: attribute.costly_calls
-- requires: attribute.costly_calls, attribute._idle_in_calls, attribute.phase_ranges, load.nvtx_ranges
-- columns:
--   phase      VARCHAR Name of the phase, NULL in a trace without phases.
--   what       VARCHAR 'loading', 'allocating' or 'synchronizing'.
--   call_count BIGINT  Calls.
--   time_ns    BIGINT  Time inside them. Unit: ns.
--   idle_ns    BIGINT  Idle time of GPUs inside them, 0 of those that synchronize: see attribute._idle_in_calls. Unit: ns.
--   names      VARCHAR The three names that take most of it, with their numbers.
--   place      VARCHAR The range in which most of it is spent, as ` mostly in `range``; '' if that is the phase's own range.
WITH by_place AS (
    SELECT p.phase, c.what, c.name, r.name AS range_name, r.range_id = p.occurrence_id AS is_own, count(*) AS call_count,
        sum(c.end_ns - c.start_ns) AS time_ns, coalesce(sum(i.idle_ns), 0) AS idle_ns
    FROM attribute.costly_calls AS c
    LEFT JOIN attribute._idle_in_calls AS i USING (api_id)
    LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    LEFT JOIN load.nvtx_ranges AS r ON r.range_id = c.range_id
    GROUP BY p.phase, c.what, c.name, r.name, is_own
),
by_name AS (
    SELECT
        phase, what, name, sum(call_count) AS call_count, sum(time_ns) AS time_ns, sum(idle_ns) AS idle_ns,
        row_number() OVER (PARTITION BY phase, what ORDER BY sum(time_ns) DESC, name) AS place
    FROM by_place
    GROUP BY phase, what, name
),
by_range AS (
    SELECT phase, what, range_name, coalesce(is_own, true) AS is_own, sum(time_ns) AS time_ns
    FROM by_place
    GROUP BY phase, what, range_name, coalesce(is_own, true)
),
place AS (
    SELECT
        phase, what,
        CASE WHEN arg_max(is_own, (time_ns, range_name)) THEN '' ELSE ', mostly in `' || arg_max(range_name, (time_ns, range_name)) || '`' END
            AS place
    FROM by_range
    GROUP BY phase, what
)
SELECT
    n.phase, n.what, sum(n.call_count)::BIGINT AS call_count, sum(n.time_ns)::BIGINT AS time_ns,
    sum(n.idle_ns)::BIGINT AS idle_ns,
    string_agg(format('{:,} × {}', n.call_count::BIGINT, n.name), ', ' ORDER BY n.place) FILTER (WHERE n.place <= 3) AS names,
    coalesce(any_value(p.place), '') AS place
FROM by_name AS n LEFT JOIN place AS p ON p.phase IS NOT DISTINCT FROM n.phase AND p.what = n.what
GROUP BY n.phase, n.what
