-- How long each GPU was busy with each occurrence of a phase, overlapping work counted once, and how long it waited in
-- between: gaps between the occurrence's first start and last end in which none of its work runs.
-- Grain: occurrence_id, device_id.
-- materialize: table
-- requires: macros.busy_gaps, attribute.gpu_work, macros.is_timed
-- columns:
--   occurrence_id       BIGINT  Joins attribute.phase_ranges.
--   device_id           BIGINT  Joins load.devices.
--   gpu_busy_ns         BIGINT  Length of the union of its work on this GPU. Unit: ns.
--   idle_gap_count      BIGINT  Gaps.
--   idle_gap_ns         BIGINT  Sum of their lengths. Unit: ns.
--   longest_idle_gap_ns BIGINT  Length of the longest, 0 without any. Unit: ns.
WITH work AS NOT MATERIALIZED (
    SELECT occurrence_id * 1024 + (coalesce(device_id, 0) & 1023) AS group_id, start_ns, end_ns
    FROM attribute.gpu_work
    WHERE occurrence_id IS NOT NULL AND macros.is_timed(start_ns, end_ns)
)
SELECT
    group_id >> 10 AS occurrence_id, group_id & 1023 AS device_id, busy_ns AS gpu_busy_ns,
    gap_count AS idle_gap_count, gap_ns AS idle_gap_ns, longest_gap_ns AS longest_idle_gap_ns
FROM macros.busy_gaps('work')
