-- Time in which a GPU only communicates, and no rank is late: nothing else runs beside it.
-- A tenth of the phase's time, without what stages of a pipeline wait for each other, and without kernels that a rank whose recording is
-- shorter lacks: they may be all waiting.
-- Grain: phase.
-- severity: info
-- message: in {place} GPUs do nothing but communicate {share:%} of the time{told}
-- hint: overlap communication with computing (another stream, bucketed gradients), send less (bf16, fewer and larger messages), or
--   split the model among fewer GPUs; the class `transfer` of `time_budget` shows the effect
-- empty without: attribute.occurrence_times WHERE class = 'transfer'
-- requires: attribute.phase_spending, attribute.phase_ranges, attribute.pipeline_waits, attribute.work_by_occurrence, attribute.collectives, attribute.lone_collectives, load.ranks
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Time of the class, without bubbles and what a cut rank lacks. Unit: ns.
--   budget_part VARCHAR 'transfer'.
--   place       VARCHAR The phase in a sentence.
--   share       DOUBLE  at_stake_ns of the measured time of the phase.
--   told        VARCHAR What cannot be seen: in a trace of one GPU, of kernels without a partner, or of a job that may have more ranks; else ''.
WITH gpu AS (
    -- A GPU whose phases are all cold is in the trace, too.
    SELECT count(DISTINCT device_id) AS gpus FROM attribute.work_by_occurrence WHERE kernel_count > 0
),
bubble AS (
    SELECT p.phase, sum(w.wait_ns) AS wait_ns
    FROM attribute.pipeline_waits AS w LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    -- What is matched has its waiting in the class 'wait'.
    SEMI JOIN attribute.collectives AS c ON c.op_id = w.op_id AND c.wait_ns IS NULL
    WHERE w.kind = 'send_recv'
    GROUP BY p.phase
),
job AS (
    SELECT max(world) AS world, count(DISTINCT rank) AS present FROM load.ranks
),
exposed AS (
    SELECT
        s.phase, s.place, s.phase_ns, s.least_ns, g.gpus,
        greatest(0, s.transfer_ns - coalesce(b.wait_ns, 0) - coalesce(l.cut_ns, 0))::BIGINT AS at_stake_ns, coalesce(l.alone_ns, 0) AS alone_ns
    FROM attribute.phase_spending AS s
    CROSS JOIN gpu AS g
    LEFT JOIN bubble AS b ON b.phase IS NOT DISTINCT FROM s.phase
    LEFT JOIN attribute.lone_collectives AS l ON l.phase IS NOT DISTINCT FROM s.phase
)
SELECT
    phase, at_stake_ns, 'transfer' AS budget_part, place, at_stake_ns / phase_ns AS share,
    CASE
        WHEN gpus = 1 THEN ', or wait for a rank that is not in the trace: `llmperf analyze` of a directory reads all ranks'
        WHEN least(alone_ns, at_stake_ns) >= at_stake_ns / 10 THEN format(
            ', or wait: {:,.1f} ms of it run kernels whose partners on other ranks are not known', least(alone_ns, at_stake_ns) / 1e6
        )
        WHEN world > present THEN ', or wait for ranks that are not in the trace'
        WHEN world IS NULL THEN ', or wait for ranks that are not in the trace, if the job has others'
        ELSE ''
    END AS told
FROM exposed CROSS JOIN job
WHERE at_stake_ns >= phase_ns / 10 AND at_stake_ns >= least_ns
