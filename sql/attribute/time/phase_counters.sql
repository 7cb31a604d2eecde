-- Hardware counters of each phase on each GPU, warm-up left out, in two ways.
-- *_ratio: the plain mean of the samples whose stamp lies in the phase's busy time. A sample stands for a stretch of time
-- that may hold idle time and other phases, too, so between short kernels it is too low.
-- *_busy_ratio: what the counter summed up in the stretches in which the phase ran, each stretch shared among the phases
-- that are busy in it by their busy time, per busy time of the phase. Nothing is lost and nothing counted twice. nsys
-- rounds a sample up to whole per cents (measured: 1 where next to nothing ran), so half a per cent is taken off.
-- Grain: phase, device_id; empty where the capture sampled no counters.
-- materialize: table
-- empty without: load.metric_windows
-- requires: load.counter_samples, load.metric_windows, attribute._phase_islands, macros.window_shares
-- columns:
--   phase                    VARCHAR  Name of the phase.
--   device_id                BIGINT   Joins load.devices.
--   samples                  BIGINT   Samples whose stamp lies in the phase's busy time.
--   tensor_active_ratio      DOUBLE   Mean over them: share of cycles in which a tensor pipe is active.
--   sm_active_ratio          DOUBLE   Mean over them: share of cycles in which an SM has a warp.
--   sm_issue_ratio           DOUBLE   Mean over them: share of cycles in which an SM issues an instruction.
--   dram_read_ratio          DOUBLE   Mean over them: bytes read / peak bandwidth.
--   dram_write_ratio         DOUBLE   Mean over them: bytes written / peak bandwidth.
--   sm_clock_hz              DOUBLE   Mean over them: clock of the SMs. Unit: Hz.
--   sampled_busy_ns          BIGINT   Busy time of the phase that samples cover. Unit: ns.
--   tensor_active_busy_ratio DOUBLE   Per busy time: tensor pipe active.
--   sm_active_busy_ratio     DOUBLE   Per busy time: SM active.
--   sm_issue_busy_ratio      DOUBLE   Per busy time: SM issuing.
--   dram_read_busy_ratio     DOUBLE   Per busy time: DRAM read.
--   dram_write_busy_ratio    DOUBLE   Per busy time: DRAM written.
--   busy_ratio_error         DOUBLE   How far each of them may be off, up or down, because nsys rounds a sample up to whole
--                                     per cents. Large for a phase of short kernels with idle time between them.
WITH phase AS (
    SELECT DISTINCT lane, group_id FROM attribute._phase_islands
),
-- Floating-point sums are taken in the order of time, so that each run of a trace has the same digits.
stamped AS (
    SELECT
        i.group_id AS phase, i.lane AS device_id, count(*) AS samples,
        avg(s.tensor_active_ratio ORDER BY s.at_ns) AS tensor_active_ratio,
        avg(s.sm_active_ratio ORDER BY s.at_ns) AS sm_active_ratio,
        avg(s.sm_issue_ratio ORDER BY s.at_ns) AS sm_issue_ratio,
        avg(s.dram_read_ratio ORDER BY s.at_ns) AS dram_read_ratio,
        avg(s.dram_write_ratio ORDER BY s.at_ns) AS dram_write_ratio,
        avg(s.sm_clock_hz ORDER BY s.at_ns) AS sm_clock_hz
    FROM (SELECT p.group_id, s.* FROM load.counter_samples AS s JOIN phase AS p USING (lane)) AS s
    ASOF JOIN attribute._phase_islands AS i
        ON i.lane = s.lane AND i.group_id = s.group_id AND i.start_ns <= s.at_ns
    WHERE s.at_ns <= i.end_ns
    GROUP BY i.group_id, i.lane
),
share AS (
    SELECT
        h.group_id, h.lane, h.window_id, h.overlap_ns,
        (w.end_ns - w.start_ns) * h.overlap_ns / sum(h.overlap_ns) OVER (PARTITION BY h.lane, h.window_id) AS share_ns
    FROM macros.window_shares('attribute._phase_islands', 'load.metric_windows') AS h
    JOIN load.metric_windows AS w ON w.lane = h.lane AND w.window_id = h.window_id
),
weighted AS (
    SELECT
        h.group_id AS phase, h.lane AS device_id, sum(h.overlap_ns)::BIGINT AS sampled_busy_ns,
        0.005 * sum(h.share_ns ORDER BY h.window_id) / sum(h.overlap_ns) AS error,
        sum(greatest(s.tensor_active_ratio - 0.005, 0) * h.share_ns ORDER BY h.window_id) / sum(h.overlap_ns) AS tensor,
        sum(greatest(s.sm_active_ratio - 0.005, 0) * h.share_ns ORDER BY h.window_id) / sum(h.overlap_ns) AS active,
        sum(greatest(s.sm_issue_ratio - 0.005, 0) * h.share_ns ORDER BY h.window_id) / sum(h.overlap_ns) AS issue,
        sum(greatest(s.dram_read_ratio - 0.005, 0) * h.share_ns ORDER BY h.window_id) / sum(h.overlap_ns) AS "read",
        sum(greatest(s.dram_write_ratio - 0.005, 0) * h.share_ns ORDER BY h.window_id) / sum(h.overlap_ns) AS "write"
    FROM share AS h
    JOIN load.counter_samples AS s ON s.lane = h.lane AND s.window_id = h.window_id
    GROUP BY h.group_id, h.lane
)
SELECT
    phase, device_id, coalesce(st.samples, 0) AS samples, st.tensor_active_ratio, st.sm_active_ratio, st.sm_issue_ratio,
    st.dram_read_ratio, st.dram_write_ratio, st.sm_clock_hz, w.sampled_busy_ns,
    w.tensor AS tensor_active_busy_ratio, w.active AS sm_active_busy_ratio, w.issue AS sm_issue_busy_ratio,
    w.read AS dram_read_busy_ratio, w.write AS dram_write_busy_ratio,
    w.error AS busy_ratio_error
FROM weighted AS w LEFT JOIN stamped AS st USING (phase, device_id)
