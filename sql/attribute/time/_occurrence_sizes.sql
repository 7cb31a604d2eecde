-- What tells cold occurrences from others: how long each took, how much work it had, and whether it set something up.
-- Its time runs from the later of its start and the end of the GPU work of earlier ones of its thread, for which it waits,
-- to the later of its end and that of its own GPU work: see attribute._work_ends.
-- Setting up: recording or instantiating a CUDA graph, loading or linking a module, allocating or freeing memory.
-- Grain: occurrence_id; warm-up is absent.
-- materialize: table
-- requires: attribute.phase_ranges, attribute._work_ends, attribute.busy_by_occurrence, attribute._communicating_occurrences, attribute._phase_segments, input.step_sizes, attribute._stream_captures, load.api_calls, load.strings, macros.cuda_call
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   group_id      BIGINT   Occurrences of one phase, process and kind of shape: batch and new tokens.
--   place         BIGINT   1, 2, 3, … in the group, by start.
--   label         VARCHAR  Shape with its context; where that is not known, of a request its place among those of its phase: steps of
--                          requests alike have the same. Else NULL.
--   label_place   BIGINT   1, 2, 3, … among those of the group with this label.
--   phase_id      BIGINT   Occurrences of one phase and process.
--   phase_place   BIGINT   1, 2, 3, … among them.
--   is_sized      BOOLEAN  Whether new and cached tokens are known.
--   batch         BIGINT   Sequences.
--   new_tokens    BIGINT   Unit: tokens.
--   cached_tokens BIGINT   Unit: tokens.
--   time_ns       BIGINT   How long it took. Unit: ns.
--   busy_ns       BIGINT   GPU busy time, added up over GPUs. Unit: ns.
--   own_ns        BIGINT   GPU busy time without communication, in which it may wait for other ranks. Unit: ns.
--   has_setup     BOOLEAN  Whether its thread sets something up in it.
--   is_recording  BOOLEAN  Whether its thread begins to record a CUDA graph in it, or its process does around it, and the GPU does
--                          nothing of it.
WITH busy AS (
    SELECT occurrence_id, sum(gpu_busy_ns)::BIGINT AS busy_ns FROM attribute.busy_by_occurrence GROUP BY occurrence_id
),
done AS (
    SELECT p.occurrence_id, p.global_tid, p.start_ns, p.end_ns, greatest(p.end_ns, w.end_ns) AS done_ns
    FROM attribute.phase_ranges AS p LEFT JOIN attribute._work_ends AS w USING (occurrence_id)
),
earlier AS (
    SELECT
        global_tid, end_ns,
        max(done_ns) OVER (PARTITION BY global_tid ORDER BY end_ns RANGE UNBOUNDED PRECEDING) AS done_ns
    FROM done
),
setup_call AS (
    SELECT c.global_tid, c.start_ns, n.is_recording
    FROM load.api_calls AS c
    JOIN (
        SELECT string_id, contains(value, 'StreamBeginCapture') AS is_recording
        FROM load.strings
        WHERE regexp_matches(
            macros.cuda_call(value),
            '^cu(da)?(Stream(Begin|End)Capture|GraphInstantiate|ModuleLoad|LibraryLoad|Link(Create|Complete)|Malloc|MemAlloc|MemCreate|HostAlloc|MemHostAlloc|Free|MemFree)'
        ) AND NOT contains(value, 'Async')
    ) AS n ON n.string_id = c.name_id
),
setup AS (
    SELECT s.occurrence_id, bool_or(c.is_recording) AS is_recording
    FROM setup_call AS c
    ASOF JOIN attribute._phase_segments AS s ON s.global_tid = c.global_tid AND s.start_ns <= c.start_ns
    WHERE s.occurrence_id IS NOT NULL
    GROUP BY s.occurrence_id
),
-- Around whole passes, as where a training step becomes a graph: autograd's threads record it, too.
recorded AS (
    SELECT p.occurrence_id
    FROM attribute.phase_ranges AS p
    ASOF JOIN attribute._stream_captures AS c ON c.process_key = p.process_key AND c.start_ns <= p.start_ns
    WHERE c.is_begin
),
sized AS (
    SELECT
        p.occurrence_id, p.start_ns, p.phase, p.process_key, z.kind,
        z.new_tokens IS NOT NULL AND z.cached_tokens IS NOT NULL AS is_sized,
        CASE
            WHEN is_sized THEN z.label
            WHEN p.request_id IS NOT NULL
                THEN format('step {}', row_number() OVER (PARTITION BY p.request_id, p.phase ORDER BY p.start_ns, p.occurrence_id))
        END AS label,
        z.batch, z.new_tokens, z.cached_tokens,
        greatest(0, d.done_ns - greatest(d.start_ns, coalesce(e.done_ns, d.start_ns))) AS time_ns,
        coalesce(b.busy_ns, 0) AS busy_ns, coalesce(c.own_ns, b.busy_ns, 0) AS own_ns, u.occurrence_id IS NOT NULL AS has_setup,
        (coalesce(u.is_recording, false) OR r.occurrence_id IS NOT NULL) AND coalesce(b.busy_ns, 0) = 0 AS is_recording
    FROM attribute.phase_ranges AS p
    JOIN done AS d USING (occurrence_id)
    ASOF LEFT JOIN earlier AS e ON e.global_tid = d.global_tid AND e.end_ns <= d.start_ns
    LEFT JOIN busy AS b ON b.occurrence_id = p.occurrence_id
    LEFT JOIN attribute._communicating_occurrences AS c ON c.occurrence_id = p.occurrence_id
    LEFT JOIN setup AS u ON u.occurrence_id = p.occurrence_id
    LEFT JOIN recorded AS r ON r.occurrence_id = p.occurrence_id
    LEFT JOIN input.step_sizes AS z ON z.occurrence_id = p.occurrence_id
    WHERE NOT p.is_warmup
)
SELECT
    occurrence_id, dense_rank() OVER (ORDER BY phase, process_key, kind) AS group_id,
    row_number() OVER (PARTITION BY phase, process_key, kind ORDER BY start_ns, occurrence_id) AS place,
    label, row_number() OVER (PARTITION BY phase, process_key, kind, label ORDER BY start_ns, occurrence_id) AS label_place,
    dense_rank() OVER (ORDER BY phase, process_key) AS phase_id,
    row_number() OVER (PARTITION BY phase, process_key ORDER BY start_ns, occurrence_id) AS phase_place,
    is_sized, batch, new_tokens, cached_tokens, time_ns::BIGINT AS time_ns, busy_ns, own_ns, has_setup, is_recording
FROM sized
