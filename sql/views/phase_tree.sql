-- Phases inside each other as a tree: what they took with and without the phases inside. Warm-up and cold occurrences left out.
-- Columns that begin with `own` leave out what is inside, as all other views do, and add up to all phases. The others are the
-- sum of the row and the rows below it.
-- Grain: path.
-- requires: attribute._phase_parents, attribute.occurrences, attribute.occurrence_times, attribute.work_by_occurrence
-- columns:
--   path             VARCHAR Names from the outermost phase on, joined by ' > '. What is deeper than 16 counts in the 16th.
--   phase            VARCHAR Name of the phase.
--   parent_path      VARCHAR Path of the phase around it, NULL for an outermost one.
--   depth            BIGINT  0 for an outermost one.
--   occurrences      BIGINT  Measured occurrences.
--   wall_ns          BIGINT  Host time. Unit: ns.
--   own_wall_ns      BIGINT  Host time outside of the phases inside. Unit: ns.
--   busy_ns          BIGINT  Time of the GPUs in the busy classes of time_budget. Unit: ns.
--   own_busy_ns      BIGINT  The same without the phases inside. Unit: ns.
--   idle_ns          BIGINT  Time of the GPUs in the idle classes of time_budget. Unit: ns.
--   own_idle_ns      BIGINT  The same without the phases inside. Unit: ns.
--   kernel_count     BIGINT  Kernels.
--   own_kernel_count BIGINT  Kernels that the phases inside did not launch.
WITH RECURSIVE placed AS (
    SELECT p.occurrence_id, [o.phase] AS names
    FROM attribute._phase_parents AS p JOIN attribute.occurrences AS o USING (occurrence_id)
    WHERE p.parent_id IS NULL
    UNION ALL
    SELECT p.occurrence_id, CASE WHEN len(a.names) < 16 THEN list_append(a.names, o.phase) ELSE a.names END
    FROM placed AS a
    JOIN attribute._phase_parents AS p ON p.parent_id = a.occurrence_id
    JOIN attribute.occurrences AS o ON o.occurrence_id = p.occurrence_id
),
inside AS (
    SELECT p.parent_id AS occurrence_id, sum(o.end_ns - o.start_ns) AS wall_ns
    FROM attribute._phase_parents AS p JOIN attribute.occurrences AS o USING (occurrence_id)
    WHERE p.parent_id IS NOT NULL
    GROUP BY p.parent_id
),
spent AS (
    SELECT
        occurrence_id,
        coalesce(sum(time_ns) FILTER (WHERE class IN ('compute', 'transfer', 'wait', 'copy')), 0) AS busy_ns,
        coalesce(sum(time_ns) FILTER (WHERE class IN ('launch', 'latency', 'sync', 'api', 'host')), 0) AS idle_ns
    FROM attribute.occurrence_times
    WHERE occurrence_id IS NOT NULL
    GROUP BY occurrence_id
),
launched AS (
    SELECT occurrence_id, sum(kernel_count) AS kernel_count
    FROM attribute.work_by_occurrence
    WHERE occurrence_id IS NOT NULL
    GROUP BY occurrence_id
),
own AS (
    SELECT
        a.names, count(*) AS occurrences,
        -- Phases of several NVTX domains inside one may overlap each other.
        sum(greatest(0, o.end_ns - o.start_ns - coalesce(i.wall_ns, 0))) AS wall_ns,
        sum(coalesce(s.busy_ns, 0)) AS busy_ns, sum(coalesce(s.idle_ns, 0)) AS idle_ns,
        sum(coalesce(l.kernel_count, 0)) AS kernel_count
    FROM placed AS a
    JOIN attribute.occurrences AS o USING (occurrence_id)
    LEFT JOIN inside AS i USING (occurrence_id)
    LEFT JOIN spent AS s USING (occurrence_id)
    LEFT JOIN launched AS l USING (occurrence_id)
    WHERE o.is_measured
    GROUP BY a.names
),
added AS (
    SELECT
        w.names[: n.level] AS names, sum(w.wall_ns) AS wall_ns, sum(w.busy_ns) AS busy_ns, sum(w.idle_ns) AS idle_ns,
        sum(w.kernel_count) AS kernel_count
    FROM own AS w, LATERAL (SELECT unnest(range(1, len(w.names) + 1)) AS level) AS n
    GROUP BY ALL
)
SELECT
    array_to_string(t.names, ' > ') AS path, t.names[-1] AS phase,
    CASE WHEN len(t.names) > 1 THEN array_to_string(t.names[: -2], ' > ') END AS parent_path, len(t.names) - 1 AS depth,
    coalesce(w.occurrences, 0)::BIGINT AS occurrences, t.wall_ns::BIGINT AS wall_ns,
    coalesce(w.wall_ns, 0)::BIGINT AS own_wall_ns, t.busy_ns::BIGINT AS busy_ns, coalesce(w.busy_ns, 0)::BIGINT AS own_busy_ns,
    t.idle_ns::BIGINT AS idle_ns, coalesce(w.idle_ns, 0)::BIGINT AS own_idle_ns,
    t.kernel_count::BIGINT AS kernel_count, coalesce(w.kernel_count, 0)::BIGINT AS own_kernel_count
FROM added AS t LEFT JOIN own AS w ON w.names = t.names
