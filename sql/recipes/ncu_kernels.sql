-- Which kernels of a phase are worth an ncu profile, and which launches of them are in one steady occurrence?
-- The kernels that take most of the phase's time, counted in its first occurrence that is neither warm-up nor cold.
-- `llmperf ncu` turns the answer into a command. Names that communicate follow, whatever `top` is: they wait for other
-- GPUs, and hang while ncu runs kernels one at a time.
-- params:
--   phase=decode  Phase.
--   top=5         Kernel names that do not communicate; 0 means all.
-- columns:
--   name          VARCHAR  Short kernel name.
--   communicates  BOOLEAN  Whether a kernel of this name communicates, anywhere in the trace: ncu cannot replay it.
--   time_ns       BIGINT   Sum of its durations in the phase, warm-up left out; 0 if only other phases inside it have it. Unit: ns.
--   time_ratio    DOUBLE   Share of the phase's kernel time.
--   mean_ns       DOUBLE   Mean duration. Unit: ns.
--   in_occurrence BIGINT   Launches in the occurrence, and in ranges of other phases inside its range: ncu takes both.
--   skipped       BIGINT   Launches before it, in earlier ranges of the same name and process.
--   skipped_all   BIGINT   Launches before its first one in the process, whatever range they are in.
--   skipped_any   BIGINT   Launches of any kernel before the occurrence in the process.
--   other_thread_count BIGINT Of those in the occurrence, launches by a thread without the range, which ncu cannot select by it.
--   graph_count   BIGINT   Of those in the occurrence, kernels of CUDA graphs.
--   beside_count  BIGINT   Of those in the occurrence that communicate, the ones on a stream of their own, beside other kernels.
--   occurrence    BIGINT   Number of the occurrence within its phase.
--   domain        VARCHAR  NVTX domain of its range, '' for the default one; NULL if the phase is inferred.
--   range_name    VARCHAR  Text of its range; NULL if the phase is inferred.
--   range_kind    VARCHAR  'push_pop' or 'start_end'; NULL if the phase is inferred.
--   device_id     BIGINT   GPU of the occurrence's kernels; NULL if they run on several.
--   cuda_device   BIGINT   The number by which its process calls this GPU.
--   rank_count    BIGINT   Ranks of the job, as the trace shows or states them.
--   sharing_count BIGINT   Of those in the trace, the ranks that call a GPU by this number: all under CUDA_VISIBLE_DEVICES.
WITH chosen AS (
    SELECT p.occurrence_id, p.occurrence, p.process_id, r.domain, r.name, r.kind
    FROM phases AS p LEFT JOIN nvtx_ranges AS r ON r.range_id = p.occurrence_id
    WHERE p.phase = $phase AND p.kernel_count > 0
    ORDER BY p.is_warmup, p.is_cold, p.occurrence
    LIMIT 1
),
own_range AS (
    SELECT r.range_id, r.process_id, r.thread_id, r.start_ns, r.end_ns
    FROM phases AS p
    JOIN nvtx_ranges AS r ON r.range_id = p.occurrence_id
    JOIN chosen AS c ON c.domain = r.domain AND c.name = r.name AND c.process_id = p.process_id
    WHERE p.phase = $phase AND r.kind = 'push_pop'
),
kernel AS (
    SELECT name, occurrence_id, dur_ns, graph_node_id, is_warmup, method, device_id, stream_id, false AS is_nested
    FROM gpu_work
    WHERE kind = 'kernel' AND phase = $phase
    UNION ALL
    -- ncu takes whatever is launched while the range is open, and a launch is of the innermost phase.
    SELECT w.name, r.range_id, w.dur_ns, w.graph_node_id, w.is_warmup, w.method, w.device_id, w.stream_id, true
    FROM (FROM gpu_work WHERE kind = 'kernel' AND phase <> $phase) AS w
    ASOF JOIN own_range AS r
        ON r.process_id = w.process_id AND r.thread_id = w.thread_id AND r.start_ns <= w.launch_start_ns
    WHERE w.launch_start_ns < r.end_ns
),
job AS (
    SELECT greatest(count(*) FILTER (len(device_ids) > 0), coalesce(max(world), 0))::BIGINT AS rank_count FROM ranks
),
communicating AS (
    SELECT DISTINCT name FROM gpu_work WHERE kind = 'kernel' AND family = 'communication'
),
computing AS (
    SELECT DISTINCT k.stream_id FROM kernel AS k JOIN chosen AS c USING (occurrence_id) WHERE k.name NOT IN (FROM communicating)
),
place AS (
    SELECT CASE WHEN min(k.device_id) = max(k.device_id) THEN min(k.device_id) END AS device_id
    FROM kernel AS k JOIN chosen AS c USING (occurrence_id)
),
numbered AS (
    SELECT p.device_id, any_value(r.cuda_devices[list_position(r.device_ids, p.device_id)]) AS cuda_device
    FROM place AS p CROSS JOIN chosen AS c LEFT JOIN ranks AS r ON r.process_id = c.process_id AND list_contains(r.device_ids, p.device_id)
    GROUP BY p.device_id
),
earlier AS (
    SELECT p.occurrence_id
    FROM phases AS p
    JOIN nvtx_ranges AS r ON r.range_id = p.occurrence_id
    JOIN chosen AS c ON c.domain = r.domain AND c.name = r.name AND c.process_id = p.process_id
    WHERE p.phase = $phase AND p.occurrence < c.occurrence
),
first_launch AS (
    SELECT min(w.launch_start_ns) AS at_ns
    FROM gpu_work AS w JOIN chosen AS c ON c.occurrence_id = w.occurrence_id
    WHERE w.kind = 'kernel'
),
before AS (
    SELECT w.name, count(*) AS skipped_all
    FROM gpu_work AS w JOIN chosen AS c ON c.process_id = w.process_id CROSS JOIN first_launch AS f
    WHERE w.kind = 'kernel' AND w.launch_start_ns < f.at_ns
    GROUP BY w.name
),
named AS (
    SELECT
        k.name,
        coalesce(
            sum(k.dur_ns) FILTER (WHERE NOT (k.is_nested OR k.is_warmup)), sum(k.dur_ns) FILTER (WHERE NOT k.is_nested), 0
        )::BIGINT AS time_ns,
        avg(k.dur_ns) AS mean_ns,
        count(*) FILTER (WHERE c.occurrence_id = k.occurrence_id) AS in_occurrence,
        count(*) FILTER (WHERE k.occurrence_id IN (FROM earlier)) AS skipped,
        count(*) FILTER (WHERE c.occurrence_id = k.occurrence_id AND k.graph_node_id IS NOT NULL) AS graph_count,
        count(*) FILTER (WHERE c.occurrence_id = k.occurrence_id AND k.method = 'other_thread') AS other_thread_count,
        count(*) FILTER (
            WHERE c.occurrence_id = k.occurrence_id AND k.name IN (FROM communicating) AND k.stream_id NOT IN (FROM computing)
        ) AS beside_count,
        any_value(c.occurrence) AS occurrence, any_value(c.domain) AS domain, any_value(c.name) AS range_name,
        any_value(c.kind) AS range_kind
    FROM kernel AS k CROSS JOIN chosen AS c
    GROUP BY k.name
)
SELECT
    name, name IN (FROM communicating) AS communicates, time_ns, (time_ns / sum(time_ns) OVER ())::DOUBLE AS time_ratio, mean_ns, in_occurrence, skipped,
    coalesce(skipped_all, 0) AS skipped_all,
    (SELECT coalesce(sum(skipped_all), 0)::BIGINT FROM before) AS skipped_any, other_thread_count, graph_count,
    beside_count, occurrence, domain, range_name, range_kind, n.device_id, n.cuda_device, job.rank_count,
    (SELECT count(*) FROM ranks AS r WHERE list_contains(r.cuda_devices, n.cuda_device)) AS sharing_count
FROM named LEFT JOIN before USING (name) CROSS JOIN numbered AS n CROSS JOIN job
QUALIFY $top = 0 OR communicates
    OR time_ns > 0 AND row_number() OVER (PARTITION BY communicates ORDER BY in_occurrence = 0, time_ns DESC, name) <= $top
ORDER BY communicates, time_ns DESC, name
