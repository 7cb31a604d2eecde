-- Launches outside every push/pop phase of their thread, with the phase that start/end ranges or other threads lend.
-- A launch goes to the only phase that another thread of its process has open: what autograd's threads launch does, and
-- the work of threads without ranges. What lies in a range of the launching thread's own does not, and nothing of a thread
-- does of whose launches at least half lie in ranges or phases of its own: a data loader, another engine.
-- Ranges of libraries (NCCL, cuBLAS, …) and of autograd say nothing about whose the work is.
-- Grain: op_id.
-- materialize: table
-- empty without: attribute._linked_work WHERE occurrence_id IS NULL
-- requires: attribute._outside_launches, attribute._own_range_ends, attribute._autograd_threads, attribute._linked_work, attribute._repeated_links, input.settings
-- columns:
--   op_id         BIGINT   Joins load.gpu_ops.
--   global_tid    BIGINT   The launching thread. Joins load.threads.
--   occurrence_id BIGINT   The phase, NULL for none. Joins attribute.phase_ranges.
--   method        VARCHAR  See attribute.gpu_work.
--   reason        VARCHAR  See attribute.gpu_work.
--   kept_from     BIGINT   The phase of another thread that it would belong to, but for ranges of its own thread; else NULL.
WITH claimed AS (
    SELECT
        o.op_id, o.global_tid, o.other_id, a.global_tid IS NOT NULL AS is_autograd,
        coalesce(r.until_ns >= o.launch_start_ns, false) AS is_in_own
    FROM attribute._outside_launches AS o
    ASOF LEFT JOIN attribute._own_range_ends AS r ON r.global_tid = o.global_tid AND r.start_ns <= o.launch_start_ns
    LEFT JOIN attribute._autograd_threads AS a ON a.global_tid = o.global_tid
    WHERE o.global_tid IN (SELECT global_tid FROM attribute._own_range_ends)
),
in_phase AS (
    SELECT w.global_tid, count(*) AS "count"
    FROM attribute._linked_work AS w
    ANTI JOIN attribute._repeated_links AS r ON r.op_id = w.op_id AND r.api_id = w.api_id
    WHERE w.occurrence_id IS NOT NULL AND w.global_tid IN (SELECT global_tid FROM attribute._own_range_ends)
    GROUP BY w.global_tid
),
busy_thread AS (
    SELECT c.global_tid
    FROM claimed AS c LEFT JOIN in_phase AS p USING (global_tid)
    WHERE NOT c.is_autograd
    GROUP BY c.global_tid
    HAVING 2 * (count(*) FILTER (c.is_in_own) + coalesce(any_value(p."count"), 0))
        >= count(*) + coalesce(any_value(p."count"), 0)
),
kept AS (
    SELECT op_id
    FROM claimed
    WHERE NOT is_autograd AND (is_in_own OR global_tid IN (SELECT global_tid FROM busy_thread))
),
lent AS (
    SELECT
        o.op_id, o.api_id, o.global_tid, o.range_id, o.overlay_id, o.open_count, kept.op_id IS NOT NULL AS is_kept,
        CASE WHEN NOT (SELECT is_strict FROM input.settings) THEN o.other_id END AS other_id
    FROM attribute._outside_launches AS o LEFT JOIN kept USING (op_id)
)
SELECT
    op_id, global_tid,
    coalesce(overlay_id, CASE WHEN NOT is_kept THEN other_id END) AS occurrence_id,
    CASE
        WHEN overlay_id IS NOT NULL THEN 'start_end'
        WHEN other_id IS NOT NULL AND NOT is_kept THEN 'other_thread'
    END AS method,
    CASE
        WHEN overlay_id IS NOT NULL OR (other_id IS NOT NULL AND NOT is_kept) THEN NULL
        WHEN api_id IS NULL THEN 'no_api_call'
        WHEN open_count > 1 AND NOT is_kept THEN 'several_phases_open'
        WHEN range_id IS NULL THEN 'no_range'
        ELSE 'no_phase'
    END AS reason,
    CASE WHEN overlay_id IS NULL AND is_kept THEN other_id END AS kept_from
FROM lent
