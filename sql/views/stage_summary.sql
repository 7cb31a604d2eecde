-- Stages of a phase: the parts of the vision side that are marked in it, and `rest`, the phase without them.
-- Warm-up and cold occurrences left out. A stage has the stages inside it, too; columns that begin with `own` leave them out,
-- and add up to the phase: those of all stages and the rest. GPU time in which a stage and one inside it both run counts for both.
-- Grain: phase, stage. Empty where no stage is marked.
-- materialize: table
-- empty without: attribute.stage_ranges
-- requires: attribute.stage_ranges, attribute.stage_times, attribute.stage_idle, attribute.occurrence_times, attribute.occurrences, attribute._occurrence_sizes, estimate.stage_costs, estimate.occurrence_costs, estimate.occurrence_bounds, macros.utilization, macros.whole_sum
-- columns:
--   phase           VARCHAR  Name of the phase.
--   stage           VARCHAR  'tower', 'sam', 'encoder', 'merger', 'projector', …; 'rest': outside every stage.
--   parent          VARCHAR  Stage around it, NULL for an outermost one.
--   occurrences     BIGINT   Occurrences of the phase that have it.
--   range_count     BIGINT   Ranges: one for each call, as of each group of views. NULL of the rest.
--   wall_ns         BIGINT   Host time. Unit: ns.
--   own_wall_ns     BIGINT   Host time without the stages inside. Unit: ns.
--   kernel_count    BIGINT   Kernels. NULL of the rest.
--   gpu_busy_ns     BIGINT   GPU busy time, added up over GPUs. Unit: ns.
--   own_busy_ns     BIGINT   The same without the stages inside. Unit: ns.
--   own_idle_ns     BIGINT   Time in which a GPU was idle before work that it launched, the stages inside left out, as in the time
--                            budget; of the rest: what is left of the phase's. Unit: ns.
--   own_launch_ns   BIGINT   Part of own_idle_ns inside launching calls. Unit: ns.
--   own_latency_ns  BIGINT   Part of own_idle_ns after the return of launching calls. Unit: ns.
--   own_sync_ns     BIGINT   Part of own_idle_ns inside calls that synchronize. Unit: ns.
--   own_api_ns      BIGINT   Part of own_idle_ns inside other CUDA calls. Unit: ns.
--   own_host_ns     BIGINT   Part of own_idle_ns outside every CUDA call. Unit: ns.
--   wall_ratio      DOUBLE   Share of the phase's host time.
--   busy_ratio      DOUBLE   Share of the phase's GPU busy time; NULL where overlap makes it more than one.
--   flops           HUGEINT  Model FLOPs, NULL where they are not known. Unit: FLOP.
--   bytes           HUGEINT  Minimum bytes. Unit: bytes.
--   mfu_wall        DOUBLE   Model FLOPs utilization of host time.
--   mfu_busy        DOUBLE   The same of GPU busy time.
--   mbu_busy        DOUBLE   Memory bandwidth utilization of GPU busy time.
--   sol_ratio       DOUBLE   Speed of light / GPU busy time.
--   is_lower_bound  BOOLEAN  Whether parts of the model that nobody counts may have run in it: then FLOPs, bytes, MFU and MBU are lower
--                            bounds. NULL without FLOPs.
--   is_upper_bound  BOOLEAN  Of the rest: whether it may be charged for more than it had to do, so that they are upper bounds. NULL likewise.
WITH idle AS (
    SELECT
        occurrence_id, sum(time_ns) FILTER (WHERE class IN ('launch', 'latency', 'sync', 'api', 'host')) AS idle_ns,
        sum(time_ns) FILTER (WHERE class = 'launch') AS launch_ns, sum(time_ns) FILTER (WHERE class = 'latency') AS latency_ns,
        sum(time_ns) FILTER (WHERE class = 'sync') AS sync_ns, sum(time_ns) FILTER (WHERE class = 'api') AS api_ns
    FROM attribute.occurrence_times
    WHERE occurrence_id IS NOT NULL
    GROUP BY occurrence_id
),
measured AS (
    SELECT p.occurrence_id, p.phase, p.wall_ns, z.busy_ns, i.idle_ns, i.launch_ns, i.latency_ns, i.sync_ns,
        i.api_ns
    FROM attribute.occurrences AS p
    JOIN attribute._occurrence_sizes AS z USING (occurrence_id)
    LEFT JOIN idle AS i USING (occurrence_id)
    WHERE p.is_measured
),
-- By occurrence, so that costs of an occurrence count once for all ranges of a stage in it.
per_stage AS (
    SELECT
        m.phase, r.stage, m.occurrence_id, min(around.stage) AS parent, count(*) AS range_count,
        sum(t.wall_ns)::BIGINT AS wall_ns, sum(t.own_wall_ns)::BIGINT AS own_wall_ns,
        sum(t.kernel_count)::BIGINT AS kernel_count, sum(t.gpu_busy_ns)::BIGINT AS gpu_busy_ns,
        sum(t.own_busy_ns)::BIGINT AS own_busy_ns, coalesce(sum(i.idle_ns), 0)::BIGINT AS own_idle_ns,
        coalesce(sum(i.launch_ns), 0)::BIGINT AS own_launch_ns, coalesce(sum(i.latency_ns), 0)::BIGINT AS own_latency_ns,
        coalesce(sum(i.sync_ns), 0)::BIGINT AS own_sync_ns, coalesce(sum(i.api_ns), 0)::BIGINT AS own_api_ns
    FROM measured AS m
    JOIN attribute.stage_ranges AS r USING (occurrence_id)
    JOIN attribute.stage_times AS t USING (range_id)
    LEFT JOIN attribute.stage_idle AS i USING (range_id)
    LEFT JOIN attribute.stage_ranges AS around ON around.range_id = r.parent_id
    GROUP BY m.phase, r.stage, m.occurrence_id
),
outermost AS (
    SELECT m.occurrence_id, sum(t.wall_ns)::BIGINT AS wall_ns, sum(t.gpu_busy_ns)::BIGINT AS busy_ns
    FROM measured AS m
    JOIN attribute.stage_ranges AS r USING (occurrence_id)
    JOIN attribute.stage_times AS t USING (range_id)
    WHERE r.parent_id IS NULL
    GROUP BY m.occurrence_id
),
staged_idle AS (
    SELECT
        occurrence_id, sum(own_idle_ns) AS idle_ns, sum(own_launch_ns) AS launch_ns, sum(own_latency_ns) AS latency_ns,
        sum(own_sync_ns) AS sync_ns, sum(own_api_ns) AS api_ns
    FROM per_stage
    GROUP BY occurrence_id
),
outer_cost AS (
    SELECT
        s.occurrence_id, macros.whole_sum(c.flops) AS flops,
        macros.whole_sum(c.bytes) AS bytes,
        macros.whole_sum(c.compute_ns) AS compute_ns,
        macros.whole_sum(c.memory_ns) AS memory_ns,
        macros.whole_sum(c.sol_ns) AS sol_ns
    FROM per_stage AS s LEFT JOIN estimate.stage_costs AS c USING (occurrence_id, stage)
    WHERE s.parent IS NULL
    GROUP BY s.occurrence_id
),
line AS (
    -- Padding is of tokens, which no stage has.
    SELECT s.*, c.flops, c.bytes, c.compute_ns, c.memory_ns, c.sol_ns, false AS is_upper_bound
    FROM per_stage AS s LEFT JOIN estimate.stage_costs AS c USING (occurrence_id, stage)
    UNION ALL BY NAME
    SELECT
        m.phase, 'rest' AS stage, m.occurrence_id, NULL AS parent, NULL AS range_count,
        m.wall_ns - o.wall_ns AS wall_ns, m.wall_ns - o.wall_ns AS own_wall_ns, NULL AS kernel_count,
        greatest(0, m.busy_ns - o.busy_ns) AS gpu_busy_ns, greatest(0, m.busy_ns - o.busy_ns) AS own_busy_ns,
        coalesce(m.idle_ns, 0) - d.idle_ns AS own_idle_ns, coalesce(m.launch_ns, 0) - d.launch_ns AS own_launch_ns,
        coalesce(m.latency_ns, 0) - d.latency_ns AS own_latency_ns, coalesce(m.sync_ns, 0) - d.sync_ns AS own_sync_ns,
        coalesce(m.api_ns, 0) - d.api_ns AS own_api_ns,
        w.flops - c.flops AS flops, w.bytes - c.bytes AS bytes,
        w.compute_ns * w.device_count - c.compute_ns AS compute_ns, w.memory_ns * w.device_count - c.memory_ns AS memory_ns,
        w.sol_ns * w.device_count - c.sol_ns AS sol_ns, b.is_upper_bound
    FROM measured AS m
    JOIN outermost AS o USING (occurrence_id)
    JOIN staged_idle AS d USING (occurrence_id)
    LEFT JOIN outer_cost AS c USING (occurrence_id)
    LEFT JOIN estimate.occurrence_costs AS w USING (occurrence_id)
    LEFT JOIN estimate.occurrence_bounds AS b USING (occurrence_id)
),
total AS (
    SELECT
        phase, stage, min(parent) AS parent, count(*) AS occurrences, sum(range_count)::BIGINT AS range_count,
        sum(wall_ns)::BIGINT AS wall_ns, sum(own_wall_ns)::BIGINT AS own_wall_ns, sum(kernel_count)::BIGINT AS kernel_count,
        sum(gpu_busy_ns)::BIGINT AS gpu_busy_ns, sum(own_busy_ns)::BIGINT AS own_busy_ns,
        sum(own_idle_ns)::BIGINT AS own_idle_ns, sum(own_launch_ns)::BIGINT AS own_launch_ns,
        sum(own_latency_ns)::BIGINT AS own_latency_ns, sum(own_sync_ns)::BIGINT AS own_sync_ns,
        sum(own_api_ns)::BIGINT AS own_api_ns,
        macros.whole_sum(flops) AS flops,
        macros.whole_sum(bytes) AS bytes,
        macros.whole_sum(compute_ns) AS compute_ns,
        macros.whole_sum(memory_ns) AS memory_ns,
        macros.whole_sum(sol_ns) AS sol_ns,
        bool_or(b.is_lower_bound) AS is_lower_bound, bool_or(l.is_upper_bound) AS is_upper_bound
    FROM line AS l LEFT JOIN estimate.occurrence_bounds AS b USING (occurrence_id)
    GROUP BY phase, stage
),
whole AS (
    SELECT m.phase, sum(m.wall_ns)::BIGINT AS wall_ns, sum(m.busy_ns)::BIGINT AS busy_ns
    FROM measured AS m SEMI JOIN outermost AS o USING (occurrence_id)
    GROUP BY m.phase
)
SELECT
    t.phase, t.stage, t.parent, t.occurrences, t.range_count, t.wall_ns, t.own_wall_ns, t.kernel_count, t.gpu_busy_ns,
    t.own_busy_ns, t.own_idle_ns, t.own_launch_ns, t.own_latency_ns, t.own_sync_ns, t.own_api_ns,
    t.own_idle_ns - t.own_launch_ns - t.own_latency_ns - t.own_sync_ns - t.own_api_ns AS own_host_ns, macros.utilization(t.wall_ns, w.wall_ns) AS wall_ratio,
    macros.utilization(t.gpu_busy_ns, w.busy_ns) AS busy_ratio, t.flops, t.bytes,
    macros.utilization(t.compute_ns, t.wall_ns) AS mfu_wall, macros.utilization(t.compute_ns, t.gpu_busy_ns) AS mfu_busy,
    macros.utilization(t.memory_ns, t.gpu_busy_ns) AS mbu_busy, macros.utilization(t.sol_ns, t.gpu_busy_ns) AS sol_ratio,
    CASE WHEN t.flops IS NOT NULL THEN t.is_lower_bound END AS is_lower_bound,
    CASE WHEN t.flops IS NOT NULL THEN t.is_upper_bound END AS is_upper_bound
FROM total AS t JOIN whole AS w USING (phase)
