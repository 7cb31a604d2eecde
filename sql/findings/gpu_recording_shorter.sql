-- Occurrences of a phase that begin behind the last CUDA call of their process, or end before the first, where all others have GPU work:
-- the recorder's buffers were full, or it recorded the GPU for a shorter time. One in which the calls end before four fifths of the
-- fewest kernels of the others counts, too, if a fifth of a median one is left.
-- Ranges without an end are told as such.
-- Grain: phase, process.
-- severity: warning
-- message: CUDA calls{place} were recorded {side} of the recording alone: {lacking_count:,} of {occurrence_count:,} occurrences of {phase} lack GPU work,
--   all of it or a part; GPU times of {phase} and its share of busy time lack it
-- hint: {advice}
-- concerns: load.gpu_ops, attribute.occurrences
-- empty without: attribute.occurrences WHERE occurrence >= 3
-- requires: attribute.occurrences, attribute.work_by_occurrence, load.api_calls, load.recorder
-- columns:
--   phase            VARCHAR Name of the phase.
--   at_stake_ns      BIGINT  Host time of these occurrences without CUDA calls. Unit: ns.
--   place            VARCHAR The process, if there are several.
--   lacking_count    BIGINT  Occurrences that lack work.
--   occurrence_count BIGINT  All of the phase in the process.
--   side             VARCHAR 'until 340.0 ms', 'from 12.0 ms on' or both, after the first phase or call.
--   advice           VARCHAR What to do about it.
WITH call AS (
    SELECT process_key, min(start_ns) AS first_ns, max(end_ns) AS last_ns FROM load.api_calls GROUP BY process_key
),
work AS (
    SELECT occurrence_id, sum(kernel_count + graph_launch_count) AS ops
    FROM attribute.work_by_occurrence
    WHERE occurrence_id IS NOT NULL
    GROUP BY occurrence_id
),
one AS (
    SELECT
        o.phase, o.process_key, o.start_ns, o.end_ns, c.first_ns, c.last_ns, coalesce(w.ops, 0) AS ops, o.is_closed,
        o.start_ns > c.last_ns AS is_behind, o.end_ns < c.first_ns AS is_before, c.last_ns BETWEEN o.start_ns AND o.end_ns AS is_last
    FROM attribute.occurrences AS o JOIN call AS c USING (process_key) LEFT JOIN work AS w USING (occurrence_id)
),
usual AS (
    SELECT
        phase, process_key, count(*) AS usual_count, min(ops) AS least_ops, median(end_ns - start_ns) AS median_ns
    FROM one
    WHERE NOT is_behind AND NOT is_before AND NOT is_last
    GROUP BY phase, process_key
),
lacking AS (
    SELECT
        o.*,
        CASE WHEN o.is_last THEN o.end_ns - o.last_ns ELSE o.end_ns - o.start_ns END AS lacking_ns
    FROM one AS o JOIN usual AS u USING (phase, process_key)
    WHERE o.is_closed AND u.usual_count >= 3 AND u.least_ops > 0 AND (
        (o.is_last AND 5 * o.ops < 4 * u.least_ops AND 5 * (o.end_ns - o.last_ns) >= u.median_ns)
        OR (NOT o.is_last AND (o.is_behind OR o.is_before) AND o.ops = 0 AND 2 * (o.end_ns - o.start_ns) >= u.median_ns)
    )
)
SELECT
    l.phase, sum(l.lacking_ns)::BIGINT AS at_stake_ns,
    CASE WHEN (SELECT count(*) FROM call) > 1 THEN format(' of process {}', l.process_key & 16777215) ELSE '' END AS place,
    count(*) AS lacking_count,
    (SELECT count(*) FROM one AS o WHERE o.phase = l.phase AND o.process_key = l.process_key)::BIGINT AS occurrence_count,
    concat_ws(
        ' ', CASE WHEN bool_or(l.is_before) THEN format('from {:,.1f} ms', (any_value(l.first_ns) - any_value(s.start_ns)) / 1e6) END,
        CASE WHEN NOT bool_and(l.is_before) THEN format('until {:,.1f} ms', (any_value(l.last_ns) - any_value(s.start_ns)) / 1e6) END
    ) AS side,
    CASE (SELECT recorder FROM load.recorder)
        WHEN 'torch.profiler' THEN 'torch.profiler stops recording the GPU when its buffers are full: record fewer steps; or leave these out with --steps or --to'
        ELSE 'record a shorter part, or leave these out with --steps, --from or --to'
    END AS advice
FROM lacking AS l
CROSS JOIN (SELECT least(min(start_ns), (SELECT min(first_ns) FROM call)) AS start_ns FROM attribute.occurrences) AS s
GROUP BY l.phase, l.process_key
