-- Launches outside every push/pop phase of their thread, with the phases that may claim them: a start/end range of the
-- thread, or the only phase that is open in the process.
-- Grain: op_id.
-- materialize: temporary
-- empty without: attribute._linked_work WHERE occurrence_id IS NULL
-- requires: attribute._linked_work, attribute._repeated_links, attribute._process_segments, input.overlay_segments
-- columns:
--   op_id           BIGINT    Joins load.gpu_ops.
--   api_id          UINTEGER  The launching call, NULL where there is none.
--   global_tid      BIGINT    The launching thread.
--   launch_start_ns BIGINT    Entry of the call. Unit: ns.
--   range_id        BIGINT    Innermost push/pop range around the call.
--   overlay_id      BIGINT    Start/end phase of the thread that is open. Joins attribute.phase_ranges.
--   open_count      BIGINT    Threads of the process that have a phase open.
--   other_id        BIGINT    That phase where there is exactly one, else NULL.
WITH outside AS (
    SELECT w.op_id, w.process_key, w.api_id, w.global_tid, w.launch_start_ns, w.range_id
    FROM attribute._linked_work AS w
    ANTI JOIN attribute._repeated_links AS r ON r.op_id = w.op_id AND r.api_id = w.api_id
    WHERE w.occurrence_id IS NULL
),
overlaid AS (
    SELECT p.*, o.occurrence_id AS overlay_id
    FROM outside AS p
    ASOF LEFT JOIN input.overlay_segments AS o
        ON o.global_tid = p.global_tid AND o.start_ns <= p.launch_start_ns
)
SELECT
    o.op_id, o.api_id, o.global_tid, o.launch_start_ns, o.range_id, o.overlay_id, s.open_count,
    s.occurrence_id AS other_id
FROM overlaid AS o
ASOF LEFT JOIN attribute._process_segments AS s
    ON s.process_key = o.process_key AND s.start_ns <= o.launch_start_ns
