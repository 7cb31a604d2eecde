-- What bounds each phase: the largest part of its time budget, in a word, with the numbers that say so. Mixed shapes have a
-- verdict each.
-- Algorithm: the largest class of time_budget, over all GPUs, names the bound. A GPU that waits for another rank for most of
-- its time would be no faster for anything done on it: where a GPU has `wait` as its largest class, the phase is 'waiting'.
-- So it is where idle time is the largest class and most of it passes while another GPU of the process works.
-- While kernels take most of the time, a limit of the hardware bounds the phase if it alone explains half of the busy time.
-- Grain: phase, shape; what has no measured time is absent.
-- requires: attribute.graph_gaps, attribute.occurrences, estimate.occurrence_bounds, estimate.occurrence_costs, attribute.occurrence_times, attribute.phase_ranges, attribute.turns, input.occurrence_shapes, input.shapes, views.phase_summary, views.shape_summary, macros.percent_between
-- columns:
--   phase        VARCHAR Name of the phase, NULL outside every phase.
--   shape        VARCHAR batch x new tokens of each sequence; NULL for all occurrences of the phase.
--   bound        VARCHAR 'host-bound' (host code, or CUDA calls that neither launch nor wait), 'launch-bound' (launch calls, or
--                        launch latency), 'sync-bound', 'copy-bound', 'communication-bound', 'waiting', 'compute-bound',
--                        'memory-bound' or 'kernel-bound' (kernels, and neither limit is near). NULL if kernels take most of the
--                        time and it is not known how near they are to the limits.
--   bound_detail VARCHAR The numbers that say so, in words.
--   class        VARCHAR The class of time_budget that decides.
--   class_ns     BIGINT  Its time. Unit: ns.
--   budget_ns    BIGINT  Time of all classes. Unit: ns.
WITH spent AS (
    SELECT p.phase, NULL::VARCHAR AS shape, t.device_id, t.class, sum(t.time_ns)::BIGINT AS time_ns
    FROM attribute.occurrence_times AS t LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    GROUP BY p.phase, t.device_id, t.class
    UNION ALL
    SELECT p.phase, s.kind, t.device_id, t.class, sum(t.time_ns)::BIGINT
    FROM attribute.occurrence_times AS t
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    JOIN input.occurrence_shapes AS o USING (occurrence_id)
    JOIN input.shapes AS s USING (shape_id)
    GROUP BY p.phase, s.kind, t.device_id, t.class
),
word AS (
    -- In the order of the budget: of equal parts the first one decides.
    SELECT unnest(['host', 'launch', 'latency', 'sync', 'api', 'copy', 'transfer', 'wait', 'compute']) AS class,
        unnest([1, 2, 3, 4, 5, 6, 7, 8, 9]) AS place,
        unnest([
            'host-bound', 'launch-bound', 'launch-bound', 'sync-bound', 'host-bound', 'copy-bound', 'communication-bound',
            'waiting', NULL
        ]) AS bound,
        unnest([
            'host code', 'launch calls', 'launch latency', 'synchronizing calls', 'other CUDA calls', 'copies',
            'communication', 'waiting for ranks', 'kernels'
        ]) AS words
),
-- Who waits, and what the one does that waits least.
device AS (
    SELECT
        phase, shape, device_id, sum(time_ns) AS time_ns, arg_max(class, (time_ns, -place)) AS class,
        coalesce(sum(time_ns) FILTER (WHERE class = 'wait'), 0) AS wait_ns,
        arg_max(words, (time_ns, -place)) FILTER (WHERE class <> 'wait') AS other_words,
        max(time_ns) FILTER (WHERE class <> 'wait') AS other_ns
    FROM spent JOIN word USING (class)
    GROUP BY phase, shape, device_id
),
waiting AS (
    SELECT
        phase, shape, count(*) AS device_count, count(*) FILTER (WHERE class = 'wait') AS waiting_count,
        sum(time_ns) FILTER (WHERE class = 'wait') AS waiting_time_ns, sum(wait_ns) FILTER (WHERE class = 'wait') AS wait_ns,
        min(device_id) FILTER (WHERE class = 'wait') AS waiting_id,
        arg_min(device_id, (wait_ns / time_ns, device_id)) AS late_id,
        arg_min(other_words, (wait_ns / time_ns, device_id)) AS late_words,
        arg_min(other_ns / time_ns, (wait_ns / time_ns, device_id)) AS late_ratio
    FROM device
    GROUP BY phase, shape
),
-- No call launches the nodes of a graph.
gap AS (
    SELECT p.phase, NULL::VARCHAR AS shape, 'latency' AS class, sum(g.gap_ns) AS gap_ns
    FROM attribute.graph_gaps AS g LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    GROUP BY p.phase
    UNION ALL
    SELECT p.phase, s.kind, 'latency', sum(g.gap_ns)
    FROM attribute.graph_gaps AS g
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    JOIN input.occurrence_shapes AS o USING (occurrence_id)
    JOIN input.shapes AS s USING (shape_id)
    GROUP BY p.phase, s.kind
),
part AS (
    SELECT
        s.phase, s.shape, s.class, w.place, sum(s.time_ns)::BIGINT AS time_ns,
        CASE WHEN 2 * any_value(g.gap_ns) >= sum(s.time_ns) THEN 'gaps between graph nodes' ELSE w.words END AS words
    FROM spent AS s
    JOIN word AS w USING (class)
    LEFT JOIN gap AS g ON g.class = s.class AND g.phase IS NOT DISTINCT FROM s.phase AND g.shape IS NOT DISTINCT FROM s.shape
    GROUP BY s.phase, s.shape, s.class, w.words, w.place
),
whole AS (
    SELECT
        phase, shape, sum(time_ns)::BIGINT AS budget_ns, arg_max(class, (time_ns, -place)) AS largest,
        coalesce(sum(time_ns) FILTER (WHERE place <= 5), 0) AS idle_ns,
        coalesce(sum(time_ns) FILTER (WHERE class = 'compute'), 0) AS compute_ns,
        coalesce(sum(time_ns) FILTER (WHERE class = 'wait'), 0)::BIGINT AS wait_ns, max(time_ns) AS largest_ns
    FROM part
    GROUP BY phase, shape
),
-- Parts that a reader would miss: a twentieth of the time or more, the largest first.
listed AS (
    SELECT
        p.phase, p.shape,
        string_agg(format('{} {:.0f}%', p.words, 100 * p.time_ns / w.budget_ns), ', ' ORDER BY p.time_ns DESC, p.place)
            FILTER (WHERE p.place <= 5 AND (p.time_ns >= 0.05 * w.budget_ns OR p.class = w.largest)) AS idle_parts,
        string_agg(format('{} {:.0f}%', p.words, 100 * p.time_ns / w.budget_ns), ', ' ORDER BY p.time_ns DESC, p.place)
            FILTER (WHERE p.time_ns >= 0.05 * w.budget_ns OR p.class = w.largest) AS all_parts
    FROM part AS p
    JOIN whole AS w ON w.phase IS NOT DISTINCT FROM p.phase AND w.shape IS NOT DISTINCT FROM p.shape
    GROUP BY p.phase, p.shape
),
-- Of what is counted, the part that ran for certain: padding bounds a phase, too.
ran AS (
    SELECT
        p.phase, s.kind AS shape,
        nullif(sum(b.sure_compute_ns * c.device_count), 0) / nullif(sum(coalesce(c.compute_ns, c.compute_min_ns) * c.device_count), 0) AS compute_ratio,
        nullif(sum(b.sure_memory_ns * c.device_count), 0) / nullif(sum(coalesce(c.memory_ns, c.memory_min_ns) * c.device_count), 0) AS memory_ratio
    FROM estimate.occurrence_bounds AS b
    JOIN estimate.occurrence_costs AS c USING (occurrence_id)
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN input.shapes AS s USING (shape_id)
    WHERE p.is_measured
    GROUP BY GROUPING SETS ((p.phase), (p.phase, s.kind))
),
-- Shares of the busy time that FLOPs and bytes would take at peak: at least, and at most, where lengths are not known.
used AS (
    SELECT
        s.phase, NULL::VARCHAR AS shape,
        coalesce(mfu_busy, mfu_busy_min) * r.compute_ratio AS mfu,
        coalesce(mbu_busy, mbu_busy_min) * r.memory_ratio AS mbu,
        CASE WHEN NOT coalesce(is_lower_bound, false) THEN coalesce(mfu_busy, mfu_busy_max) END AS mfu_most,
        CASE WHEN NOT coalesce(is_lower_bound, false) THEN coalesce(mbu_busy, mbu_busy_max) END AS mbu_most
    FROM views.phase_summary AS s LEFT JOIN ran AS r ON r.phase = s.phase AND r.shape IS NULL
    UNION ALL
    SELECT
        s.phase, s.shape,
        coalesce(mfu_busy, mfu_busy_min) * r.compute_ratio,
        coalesce(mbu_busy, mbu_busy_min) * r.memory_ratio,
        CASE WHEN NOT coalesce(is_lower_bound, false) THEN coalesce(mfu_busy, mfu_busy_max) END,
        CASE WHEN NOT coalesce(is_lower_bound, false) THEN coalesce(mbu_busy, mbu_busy_max) END
    FROM views.shape_summary AS s LEFT JOIN ran AS r USING (phase, shape)
),
decided AS (
    SELECT
        w.phase, w.shape, w.budget_ns, w.compute_ns, w.idle_ns, u.mfu, u.mbu, u.mfu_most, u.mbu_most,
        macros.percent_between(u.mfu, u.mfu_most) AS mfu_words, macros.percent_between(u.mbu, u.mbu_most) AS mbu_words,
        CASE WHEN a.waiting_count > 0 THEN 'wait' ELSE w.largest END AS class,
        CASE WHEN a.waiting_count > 0 THEN w.wait_ns ELSE w.largest_ns END AS class_ns,
        a.device_count, a.waiting_count, a.wait_ns / a.waiting_time_ns AS wait_ratio, a.waiting_id, a.late_id, a.late_words,
        a.late_ratio, l.idle_parts, l.all_parts, t.turn_ns IS NOT NULL AS takes_turns
    FROM whole AS w
    JOIN waiting AS a ON a.phase IS NOT DISTINCT FROM w.phase AND a.shape IS NOT DISTINCT FROM w.shape
    JOIN listed AS l ON l.phase IS NOT DISTINCT FROM w.phase AND l.shape IS NOT DISTINCT FROM w.shape
    LEFT JOIN used AS u ON u.phase = w.phase AND u.shape IS NOT DISTINCT FROM w.shape
    LEFT JOIN attribute.turns AS t ON t.phase IS NOT DISTINCT FROM w.phase
)
SELECT
    d.phase, d.shape,
    CASE
        WHEN d.takes_turns AND word.place <= 5 THEN 'waiting'
        WHEN d.class <> 'compute' THEN word.bound
        WHEN d.mbu >= 0.5 AND d.mbu >= coalesce(d.mfu, 0) THEN 'memory-bound'
        WHEN d.mfu >= 0.5 THEN 'compute-bound'
        WHEN d.mfu_most < 0.5 AND d.mbu_most < 0.5 THEN 'kernel-bound'
    END AS bound,
    CASE
        WHEN d.class = 'wait' AND d.device_count > 1 THEN
            CASE
                WHEN d.waiting_count = 1 THEN format('GPU {} waits', d.waiting_id)
                ELSE format('{} of {} GPUs wait', d.waiting_count, d.device_count)
            END || format(' {:.0f}% of the time for another rank; GPU {}, which waits least: {} {:.0f}%',
                100 * d.wait_ratio, d.late_id, d.late_words, 100 * d.late_ratio)
        WHEN d.class = 'compute' THEN format('kernels run {:.0f}% of the time', 100 * d.compute_ns / d.budget_ns)
            || CASE
                WHEN d.mfu_words IS NOT NULL AND d.mbu_words IS NOT NULL
                    THEN format('; at peak, FLOPs take {} of the busy time and bytes {}', d.mfu_words, d.mbu_words)
                -- Of an optimizer nobody counts FLOPs, of a backward nobody counts bytes.
                WHEN d.mbu_words IS NOT NULL THEN format('; at peak, bytes take {} of the busy time', d.mbu_words)
                WHEN d.mfu_words IS NOT NULL
                    THEN format('; at peak, FLOPs take {} of the busy time, and bytes are not known', d.mfu_words)
                ELSE ', and nothing says how near they are to the limits of the GPU'
            END
            || CASE
                WHEN d.takes_turns
                    THEN format('; GPUs idle {:.0f}%, most of it while another GPU of the process works', 100 * d.idle_ns / d.budget_ns)
                WHEN d.idle_ns >= 0.25 * d.budget_ns THEN coalesce(format('; GPU idle {:.0f}%: ', 100 * d.idle_ns / d.budget_ns)
                    || d.idle_parts, '')
                ELSE ''
            END
        WHEN d.class IN ('copy', 'transfer', 'wait') THEN d.all_parts
        WHEN d.takes_turns
            THEN format('GPUs idle {:.0f}% of the time, most of it while another GPU of the process works', 100 * d.idle_ns / d.budget_ns)
        ELSE format('GPU idle {:.0f}% of the time: {}', 100 * d.idle_ns / d.budget_ns, d.idle_parts)
    END AS bound_detail,
    d.class, d.class_ns, d.budget_ns
FROM decided AS d JOIN word USING (class)
