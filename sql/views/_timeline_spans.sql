-- Everything that a timeline draws, each with the lane that it is drawn in: a lane is a track of one thread, or of one GPU.
-- The tracks of a thread are 'phase', 'range' (NVTX) and 'api' (CUDA calls), those of a GPU 'gpu_phase' and 'gpu' (its work,
-- one lane for each process and stream). `depth` is the number of ranges around an NVTX range; -1 for start/end ranges.
-- Grain: lane, id; an occurrence of a phase is in a lane of its thread and in one of each GPU that worked for it.
-- requires: views.gpu_work, views.api_calls, views.nvtx_ranges, attribute.phase_ranges, attribute.work_by_occurrence
-- columns:
--   lane     STRUCT(track VARCHAR, process_id BIGINT, thread_id BIGINT, device_id BIGINT, stream_id BIGINT, "domain" VARCHAR, depth BIGINT) Where it is drawn; what does not apply is NULL.
--   start_ns BIGINT  Start. Unit: ns.
--   end_ns   BIGINT  End. Unit: ns.
--   name     VARCHAR Text of the range, function, kernel; a phase with the number of its occurrence.
--   category VARCHAR What it is coloured by: phase, kind of call, family of kernels.
--   phase    VARCHAR Its phase, or NULL.
--   id       BIGINT  occurrence_id, range_id, api_id or op_id.
--   api_id   BIGINT  The call that launched GPU work, NULL for everything else.
WITH span AS (
    SELECT
        'phase' AS track, process_key & 16777215 AS process_id, global_tid & 16777215 AS thread_id,
        NULL::BIGINT AS device_id, NULL::BIGINT AS stream_id, NULL::VARCHAR AS domain, 0::BIGINT AS depth, start_ns, end_ns,
        phase || ' ' || occurrence AS name, phase AS category, phase, occurrence_id AS id, NULL::BIGINT AS api_id
    FROM attribute.phase_ranges
    UNION ALL
    SELECT
        'gpu_phase', w.process_key & 16777215, NULL, w.device_id, NULL, NULL, 0, w.first_start_ns, w.last_end_ns,
        p.phase || ' ' || p.occurrence, p.phase, p.phase, occurrence_id, NULL
    FROM attribute.work_by_occurrence AS w JOIN attribute.phase_ranges AS p USING (occurrence_id)
    UNION ALL
    SELECT
        'range', process_id, thread_id, NULL, NULL, domain, coalesce(depth, -1), start_ns, end_ns, name,
        CASE WHEN occurrence_id = range_id THEN phase ELSE 'range' END, phase, range_id, NULL
    FROM views.nvtx_ranges
    UNION ALL
    SELECT
        'api', process_id, thread_id, NULL, NULL, NULL, 0, start_ns, end_ns, name,
        CASE
            WHEN contains(name, 'Synchronize') THEN 'synchronization'
            WHEN contains(name, 'Launch') THEN 'launch'
            WHEN contains(name, 'Memcpy') OR contains(name, 'Memset') THEN 'copy'
            WHEN contains(name, 'Alloc') OR contains(name, 'Free') THEN 'allocation'
            ELSE 'other call'
        END,
        phase, api_id, NULL
    FROM views.api_calls
    UNION ALL
    SELECT
        'gpu', process_id, NULL, device_id, stream_id, NULL, 0, start_ns, end_ns, name, family, phase, op_id, api_id
    FROM views.gpu_work
)
SELECT
    struct_pack(
        track := track, process_id := process_id, thread_id := thread_id, device_id := device_id, stream_id := stream_id,
        "domain" := domain, depth := depth
    ) AS lane,
    start_ns, end_ns, name, category, phase, id, api_id
FROM span
