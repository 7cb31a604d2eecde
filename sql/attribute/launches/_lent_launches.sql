-- Launches outside every push/pop phase of their thread, with the phase that start/end ranges or other threads lend.
-- Grain: op_id.
-- materialize: table
-- requires: attribute._linked_work, attribute._repeated_links, attribute._process_segments, input.overlay_segments, input.settings
-- columns:
--   op_id         BIGINT   Joins load.gpu_ops.
--   occurrence_id BIGINT   The phase, NULL for none. Joins attribute.phase_ranges.
--   method        VARCHAR  See attribute.gpu_work.
--   reason        VARCHAR  See attribute.gpu_work.
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
),
lent AS (
    SELECT
        o.op_id, o.api_id, o.range_id, o.overlay_id, s.open_count,
        CASE WHEN NOT (SELECT is_strict FROM input.settings) THEN s.occurrence_id END AS lent_id
    FROM overlaid AS o
    ASOF LEFT JOIN attribute._process_segments AS s
        ON s.process_key = o.process_key AND s.start_ns <= o.launch_start_ns
)
SELECT
    op_id,
    coalesce(overlay_id, lent_id) AS occurrence_id,
    CASE WHEN overlay_id IS NOT NULL THEN 'start_end' WHEN lent_id IS NOT NULL THEN 'other_thread' END AS method,
    CASE
        WHEN coalesce(overlay_id, lent_id) IS NOT NULL THEN NULL
        WHEN api_id IS NULL THEN 'no_api_call'
        WHEN open_count > 1 THEN 'several_phases_open'
        WHEN range_id IS NULL THEN 'no_range'
        ELSE 'no_phase'
    END AS reason
FROM lent
