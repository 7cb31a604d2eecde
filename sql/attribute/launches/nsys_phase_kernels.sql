-- Kernels of each phase as llmperf attributes them beside those that `nsys stats` counts for the same ranges, with the
-- reason where they differ.
-- Grain: phase, reason; reason is NULL for the kernels on which both agree.
-- requires: attribute.gpu_work, attribute.phase_ranges, attribute._nsys_range_kernels, load.nvtx_ranges
-- columns:
--   phase              VARCHAR  Name of the phase.
--   reason             VARCHAR  'other_thread' (launched by another thread: nsys looks at one thread alone),
--                               'call_outlives_range' (the launching call returns after the range was closed),
--                               'ended_on_another_thread' (nsys leaves such ranges out), 'unclosed_range' (nsys lets it
--                               last until the end), 'inner_phase' (nsys counts it for the phases around, too),
--                               'unexplained', or NULL.
--   kernel_count       BIGINT   Kernels that llmperf gives to the phase.
--   kernel_time_ns     BIGINT   Sum of their durations. Unit: ns.
--   nsys_kernel_count  BIGINT   Kernels that nsys counts for its ranges.
--   nsys_kernel_time_ns BIGINT  Sum of their durations, each once. Unit: ns.
WITH ours AS (
    SELECT
        w.op_id, p.phase, w.method, w.launch_end_ns > p.end_ns AS outlives, NOT p.is_closed AS is_unclosed,
        r.end_global_tid IS NOT NULL AS ended_elsewhere
    FROM attribute.gpu_work AS w
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    JOIN load.nvtx_ranges AS r ON r.range_id = p.occurrence_id
    WHERE w.kind = 'kernel'
),
theirs AS (
    SELECT k.op_id, p.phase, bool_and(NOT p.is_closed) AS is_unclosed
    FROM attribute._nsys_range_kernels AS k JOIN attribute.phase_ranges AS p ON p.occurrence_id = k.range_id
    GROUP BY k.op_id, p.phase
),
compared AS (
    SELECT
        op_id, phase, ours.op_id IS NOT NULL AS is_ours, theirs.op_id IS NOT NULL AS is_theirs,
        CASE
            WHEN ours.op_id IS NOT NULL AND theirs.op_id IS NOT NULL THEN NULL
            WHEN ours.method = 'other_thread' THEN 'other_thread'
            WHEN ours.ended_elsewhere THEN 'ended_on_another_thread'
            WHEN ours.outlives THEN 'call_outlives_range'
            WHEN coalesce(ours.is_unclosed, theirs.is_unclosed) THEN 'unclosed_range'
        END AS reason
    FROM ours FULL JOIN theirs USING (op_id, phase)
)
SELECT
    c.phase,
    CASE
        WHEN c.is_ours AND c.is_theirs THEN NULL
        WHEN c.reason IS NOT NULL THEN c.reason
        WHEN c.is_theirs AND w.occurrence_id IS NOT NULL AND w.method <> 'other_thread' THEN 'inner_phase'
        ELSE 'unexplained'
    END AS reason,
    count(*) FILTER (WHERE c.is_ours) AS kernel_count,
    coalesce(sum(w.end_ns - w.start_ns) FILTER (WHERE c.is_ours), 0)::BIGINT AS kernel_time_ns,
    count(*) FILTER (WHERE c.is_theirs) AS nsys_kernel_count,
    coalesce(sum(w.end_ns - w.start_ns) FILTER (WHERE c.is_theirs), 0)::BIGINT AS nsys_kernel_time_ns
FROM compared AS c JOIN attribute.gpu_work AS w USING (op_id)
GROUP BY ALL
