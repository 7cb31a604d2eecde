-- Calls of attribute.costly_calls added up by phase and what they do.
-- Grain: phase, what.
-- materialize: table
-- empty without: attribute.costly_calls
-- requires: attribute.costly_calls, attribute._idle_in_calls, attribute.phase_ranges, load.nvtx_ranges
-- columns:
--   phase      VARCHAR Name of the phase, NULL in a trace without phases, and outside every phase.
--   what       VARCHAR 'loading', 'allocating' or 'synchronizing'.
--   call_count BIGINT  Calls.
--   time_ns    BIGINT  Time inside them. Unit: ns.
--   idle_ns    BIGINT  Idle time of GPUs inside them, 0 of those that synchronize: see attribute._idle_in_calls. Unit: ns.
--   names      VARCHAR The three names that take most of it, with their numbers.
--   place      VARCHAR Where most of it is spent, as `, mostly in `range`` or `, mostly between steps`; '' if that is the phase's own range.
WITH by_place AS (
    SELECT
        p.phase, c.what, c.name,
        CASE
            WHEN p.phase IS NOT NULL AND a.phase IS NULL THEN ', mostly between steps'
            WHEN r.range_id = c.around_id AND a.phase = p.phase THEN ''
            ELSE coalesce(', mostly in `' || r.name || '`', '')
        END AS place,
        count(*) AS call_count, sum(c.end_ns - c.start_ns) AS time_ns, coalesce(sum(i.idle_ns), 0) AS idle_ns
    FROM attribute.costly_calls AS c
    LEFT JOIN attribute._idle_in_calls AS i USING (api_id)
    LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    LEFT JOIN attribute.phase_ranges AS a ON a.occurrence_id = c.around_id
    LEFT JOIN load.nvtx_ranges AS r ON r.range_id = c.range_id
    GROUP BY ALL
),
by_name AS (
    SELECT
        phase, what, name, sum(call_count) AS call_count, sum(time_ns) AS time_ns, sum(idle_ns) AS idle_ns,
        row_number() OVER (PARTITION BY phase, what ORDER BY sum(time_ns) DESC, name) AS rank
    FROM by_place
    GROUP BY phase, what, name
),
place AS (
    SELECT phase, what, arg_max(place, (time_ns, place)) AS place
    FROM (SELECT phase, what, place, sum(time_ns) AS time_ns FROM by_place GROUP BY phase, what, place)
    GROUP BY phase, what
)
SELECT
    n.phase, n.what, sum(n.call_count)::BIGINT AS call_count, sum(n.time_ns)::BIGINT AS time_ns,
    sum(n.idle_ns)::BIGINT AS idle_ns,
    string_agg(format('{:,} × {}', n.call_count::BIGINT, n.name), ', ' ORDER BY n.rank) FILTER (WHERE n.rank <= 3) AS names,
    any_value(p.place) AS place
FROM by_name AS n JOIN place AS p ON p.phase IS NOT DISTINCT FROM n.phase AND p.what = n.what
GROUP BY n.phase, n.what
