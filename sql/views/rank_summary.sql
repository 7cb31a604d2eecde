-- What the measured time of each rank's GPUs was spent on, its MFU, and which rank the others wait for, with the reason.
-- Grain: process_id, host_id; ranks that share a GPU with others have no times. See ranks for whole-trace sums.
-- requires: load.ranks, attribute.collectives, attribute.communication_overlap, attribute.occurrence_times, attribute.rank_lateness, attribute.occurrences, attribute._lone_devices, estimate.occurrence_costs, estimate.occurrence_bounds, estimate.phase_costs, estimate.training_steps, input.model, macros.utilization, macros.whole_sum
-- columns:
--   rank         BIGINT    Rank, NULL where neither a run mark nor the file's name says.
--   world        BIGINT    Ranks of the job as the run mark says, else NULL.
--   process_id   BIGINT    Operating-system pid. Joins processes.
--   host_id      BIGINT    Host: 0 is the first one.
--   device_ids   BIGINT[]  GPUs that it works on. Join devices.
--   trace        VARCHAR   File that it is read from.
--   window_ns    BIGINT    Measured time of its GPUs: the sum of what follows, where all of that is known. Unit: ns.
--   compute_ns   BIGINT    A kernel that does not communicate runs. Unit: ns.
--   transfer_ns  BIGINT    Only communication runs; without collectives that another rank of the communicator lacks, NULL where
--                          nothing tells waiting from transfer in any. Unit: ns.
--   wait_ns      BIGINT    The same while another rank has not come, NULL likewise. Unit: ns.
--   copy_ns      BIGINT    Only copies run. Unit: ns.
--   idle_ns      BIGINT    Nothing runs. Unit: ns.
--   blamed_ns    BIGINT    Time that other ranks waited in collectives to which it came last, without warm-up and cold steps, added up over
--                          them; beside wait_ns it also has waiting that compute hides. NULL where that is. Unit: ns.
--   blamed_step_ns BIGINT  Mean time that one of them waits for it in a training step, all phases together; NULL without training. Unit: ns.
--   is_late      BOOLEAN   Whether the others wait for it in a phase: rank_lateness has each.
--   late_phase   VARCHAR   Of a late rank: the phase in which they wait longest.
--   reason       VARCHAR   What its GPUs spend more time on there than the others' do: 'compute', 'data' (before the
--                          first pass of a training step) or 'host' (idle otherwise); NULL where nothing tells.
--   more_ns      BIGINT    What it explains of the time that one of the others waits there. Unit: ns.
--   flops        HUGEINT   Model FLOPs of its training steps, else of its measured phases. Unit: FLOP.
--   median_step_ns BIGINT  Median of its training steps; NULL without any. Unit: ns.
--   median_input_wait_ns BIGINT Median over them of the time before the first pass. Unit: ns.
--   mfu_wall     DOUBLE    Time that they need at peak / time of the steps, else of the GPUs' measured time.
--   is_lower_bound BOOLEAN Whether flops and mfu_wall are lower bounds: parts of the model are not counted. NULL without FLOPs.
--   is_upper_bound BOOLEAN Whether they are upper bounds, as for padding. NULL likewise.
WITH spent AS (
    SELECT
        a.process_key, sum(t.time_ns)::BIGINT AS window_ns,
        coalesce(sum(t.time_ns) FILTER (t.class = 'compute'), 0)::BIGINT AS compute_ns,
        coalesce(sum(t.time_ns) FILTER (t.class = 'transfer'), 0)::BIGINT AS transfer_ns,
        coalesce(sum(t.time_ns) FILTER (t.class = 'wait'), 0)::BIGINT AS wait_ns,
        coalesce(sum(t.time_ns) FILTER (t.class = 'copy'), 0)::BIGINT AS copy_ns
    FROM attribute.occurrence_times AS t JOIN attribute._lone_devices AS a USING (device_id)
    GROUP BY a.process_key
),
step AS (
    SELECT
        process_key, sum(wall_ns * device_count) AS wall_ns, median(wall_ns)::BIGINT AS median_step_ns,
        median(input_wait_ns)::BIGINT AS median_input_wait_ns,
        macros.whole_sum(flops) AS flops,
        macros.whole_sum(compute_ns * device_count) AS peak_ns,
        bool_or(is_lower_bound) AS is_lower_bound, bool_or(is_upper_bound) AS is_upper_bound
    FROM estimate.training_steps
    WHERE is_measured
    GROUP BY process_key
),
phase AS (
    SELECT
        p.process_key, sum(c.flops::HUGEINT) AS flops,
        CASE WHEN NOT bool_or(coalesce(e.highest_ratio, 0) > 1) THEN sum(c.compute_ns * c.device_count) END AS peak_ns,
        bool_or(b.is_lower_bound) FILTER (c.flops IS NOT NULL) AS is_lower_bound,
        bool_or(b.is_upper_bound) FILTER (c.flops IS NOT NULL) AS is_upper_bound
    FROM estimate.occurrence_costs AS c
    JOIN estimate.occurrence_bounds AS b USING (occurrence_id)
    JOIN attribute.occurrences AS p USING (occurrence_id)
    LEFT JOIN estimate.phase_costs AS e USING (phase)
    WHERE p.is_measured
    GROUP BY p.process_key
),
communication AS (
    SELECT
        c.process_key, count(c.wait_ns) = 0 AS is_unknown,
        coalesce(sum(o.exposed_ns) FILTER (c.group_id IS NOT NULL AND c.wait_ns IS NULL), 0)::BIGINT AS lone_ns
    FROM attribute.collectives AS c
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN attribute.communication_overlap AS o USING (op_id)
    WHERE p.is_measured
    GROUP BY c.process_key
)
SELECT
    r.rank, r.world, r.process_key & 16777215 AS process_id, r.host_id, r.device_ids, r.path AS trace,
    s.window_ns, s.compute_ns,
    CASE WHEN c.is_unknown THEN NULL ELSE greatest(0, s.transfer_ns - coalesce(c.lone_ns, 0)) END AS transfer_ns,
    CASE WHEN NOT coalesce(c.is_unknown, false) THEN s.wait_ns END AS wait_ns, s.copy_ns,
    s.window_ns - s.compute_ns - s.transfer_ns - s.wait_ns - s.copy_ns AS idle_ns,
    CASE WHEN NOT coalesce(c.is_unknown, false) THEN coalesce(l.blamed_ns, 0) END AS blamed_ns,
    l.step_ns AS blamed_step_ns, coalesce(l.is_late, false) AS is_late, l.late_phase, l.reason, l.more_ns,
    CASE WHEN NOT g.is_pipeline THEN coalesce(t.flops, p.flops) END AS flops, t.median_step_ns, t.median_input_wait_ns,
    CASE
        WHEN g.is_pipeline THEN NULL
        WHEN t.wall_ns IS NOT NULL THEN macros.utilization(t.peak_ns, t.wall_ns)
        ELSE macros.utilization(p.peak_ns, s.window_ns)
    END AS mfu_wall,
    CASE WHEN g.is_pipeline THEN NULL WHEN t.flops IS NOT NULL THEN t.is_lower_bound ELSE p.is_lower_bound END AS is_lower_bound,
    CASE WHEN g.is_pipeline THEN NULL WHEN t.flops IS NOT NULL THEN t.is_upper_bound ELSE p.is_upper_bound END AS is_upper_bound
FROM load.ranks AS r
LEFT JOIN spent AS s USING (process_key)
LEFT JOIN attribute.rank_lateness AS l USING (process_key)
LEFT JOIN communication AS c USING (process_key)
LEFT JOIN step AS t USING (process_key)
LEFT JOIN phase AS p USING (process_key)
CROSS JOIN (SELECT coalesce(bool_or(pp > 1), false) AS is_pipeline FROM input.model) AS g
