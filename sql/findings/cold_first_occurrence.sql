-- Occurrences outside warm-up that are several times slower than steady ones, or only record a graph, on one rank of the job: they
-- are left out on all ranks, unless --keep-cold counts them.
-- Grain: a phase, a kind of shape and a reason.
-- severity: warning
-- message: {fate}: {cold_count:,} of {occurrences:,} occurrences of {what} ({reason}), {wall_ns:ms} on the host and
--   {gpu_busy_ns:ms} of GPU time each; {others}{told}
-- hint: {hint}
-- concerns: views.phase_summary, views.shape_summary
-- empty without: attribute.occurrences WHERE is_cold
-- requires: attribute.cold_occurrences, attribute.occurrences, attribute._occurrence_sizes, attribute.host_leaders, attribute.kernel_totals, load.strings, input.step_sizes
-- columns:
--   phase              VARCHAR The phase.
--   at_stake_ns        BIGINT  Host time of the cold ones above the median of the others. Unit: ns.
--   what               VARCHAR The phase, and the shape if that is known.
--   reason             VARCHAR Why they are cold.
--   fate               VARCHAR Whether they count.
--   cold_count         BIGINT  Cold ones.
--   occurrences        BIGINT  All of the kind outside warm-up.
--   wall_ns            BIGINT  Mean host time of the cold ones. Unit: ns.
--   gpu_busy_ns        BIGINT  Mean GPU busy time of the cold ones. Unit: ns.
--   others             VARCHAR Median host time and GPU busy time of the others, or that there are none.
--   told               VARCHAR Functions that samples of Python's stacks in all cold ones of the phase are in, or ''.
--   hint               VARCHAR What to do about it.
WITH step AS (
    SELECT o.phase, z.kind AS shape, c.reason, o.is_cold, o.is_left_cold, o.wall_ns, b.busy_ns, b.is_sized
    FROM attribute.occurrences AS o
    LEFT JOIN attribute.cold_occurrences AS c USING (occurrence_id)
    JOIN attribute._occurrence_sizes AS b USING (occurrence_id)
    LEFT JOIN input.step_sizes AS z USING (occurrence_id)
    WHERE NOT o.is_warmup
),
kind AS (
    SELECT
        phase, shape, count(*) AS occurrences, median(wall_ns) FILTER (WHERE NOT is_cold)::BIGINT AS median_wall_ns,
        median(busy_ns) FILTER (WHERE NOT is_cold)::BIGINT AS median_gpu_busy_ns
    FROM step
    GROUP BY phase, shape
),
planned AS (
    SELECT DISTINCT k.phase
    FROM attribute.kernel_totals AS k JOIN load.strings AS s ON s.string_id = k.name_id
    WHERE s.value LIKE 'cudnn%sdpa%'
)
SELECT
    s.phase, sum(greatest(0, s.wall_ns - coalesce(k.median_wall_ns, 0)))::BIGINT AS at_stake_ns,
    CASE WHEN s.shape IS NULL THEN s.phase ELSE s.phase || ' of ' || s.shape END AS what,
    CASE s.reason
        WHEN 'leading' THEN 'the first ones'
        WHEN 'first_length' THEN CASE WHEN bool_or(s.is_sized) THEN 'the first of their length' ELSE 'the first at their place in a request' END
        WHEN 'rank' THEN 'the same steps on other ranks'
        WHEN 'step' THEN 'the rest of cold training steps'
        WHEN 'recording' THEN 'graphs recorded inside, which the GPU ran later'
        ELSE 'graphs, modules or memory set up inside'
    END AS reason,
    CASE WHEN bool_and(s.is_left_cold) THEN 'left out as cold' ELSE 'cold and counted' END AS fate,
    count(*) AS cold_count, any_value(k.occurrences) AS occurrences, avg(s.wall_ns)::BIGINT AS wall_ns,
    avg(s.busy_ns)::BIGINT AS gpu_busy_ns,
    coalesce(
        format(
            'the median of the others is {:,.1f} ms and {:,.1f} ms', any_value(k.median_wall_ns) / 1e6, any_value(k.median_gpu_busy_ns) / 1e6
        ),
        'there are no others'
    ) AS others,
    coalesce('; cold ones spend ' || any_value(t.told), '') AS told,
    CASE
        WHEN bool_and(s.is_left_cold) THEN 'count them with --keep-cold'
        ELSE 'leave them out: drop --keep-cold, or put them into a range called `warmup`'
    END
    -- Measured on an H200: docs/gpu-captures.md.
    || CASE
        WHEN s.reason = 'first_length' AND any_value(p.phase) IS NOT NULL
            THEN '; cuDNN plans attention for each new length, which `torch.backends.cuda.enable_cudnn_sdp(False)` avoids'
        ELSE ''
    END AS hint
FROM step AS s
JOIN kind AS k ON k.phase = s.phase AND k.shape IS NOT DISTINCT FROM s.shape
LEFT JOIN attribute.host_leaders AS t ON t.phase = s.phase AND t.part = 'cold'
LEFT JOIN planned AS p ON p.phase = s.phase
WHERE s.is_cold
GROUP BY s.phase, s.shape, s.reason
