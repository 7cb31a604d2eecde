-- A job that communicates by its ranges or its training, and a trace in which no GPU does: the kernels were not recorded.
-- Algorithm: ranges of NCCL and of torch's process groups are about one collective each. Ranks that train average gradients. Whole
-- graphs may hold the kernels, and copies between GPUs be the communication: then nothing is told.
-- Grain: one row, or none.
-- severity: warning
-- message: {why}, and no kernel of the trace communicates: time of communication is not in it, and counts as idle where it is not hidden
-- hint: record again, with a warm-up of the profiler and all streams; if the ranks do not share a pass, all is well
-- concerns: attribute.occurrence_times, attribute.collectives, attribute.work_by_occurrence
-- empty without: load.range_names WHERE domain = 'NCCL' OR starts_with(name, 'nccl:') OR starts_with(name, 'record_param_comms'); load.ranks WHERE world > 1
-- requires: attribute.gpu_work, attribute._communication, attribute.training_step_spans, load.ranks, load.range_names, load.memop_details
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: nobody knows how long it took. Unit: ns.
--   why         VARCHAR What says that there was some.
WITH range AS (
    -- One collective may have a range of each.
    SELECT
        greatest(
            sum(range_count) FILTER (WHERE domain = 'NCCL' AND regexp_matches(name, '^nccl(All|Reduce|Broadcast|Send|Recv|Gather|Scatter)')),
            sum(range_count) FILTER (WHERE domain = '' AND starts_with(name, 'nccl:')),
            sum(range_count) FILTER (WHERE domain = '' AND starts_with(name, 'record_param_comms'))
        )::BIGINT AS called
    FROM load.range_names
),
job AS (
    SELECT max(world) AS world FROM load.ranks
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    CASE WHEN called > 0 THEN format('{:,} ranges of collectives were opened', called) ELSE format('the job trains on {:,} ranks', world) END AS why
FROM range, job
WHERE (called > 0 OR (world > 1 AND EXISTS (FROM attribute.training_step_spans)))
    AND NOT EXISTS (FROM attribute._communication) AND EXISTS (FROM attribute.gpu_work)
    AND NOT EXISTS (FROM attribute.gpu_work WHERE kind = 'graph')
    AND NOT EXISTS (FROM load.memop_details WHERE direction = 'Peer-to-Peer')
