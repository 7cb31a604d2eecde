-- What hardware counters say about groups of work, and between which bounds it must be.
-- Algorithm: what a counter summed up in a window is shared among the groups that are busy in it by their busy time. All
-- of it may as well be of one of them, as far as that one was busy: that gives the bounds. nsys rounds a sample up to whole
-- per cents, so half a per cent is taken off, and the bounds are half a per cent wider.
-- Grain: lane, group_id, counter. A counter that was not sampled has NULL ratios.
-- params: intervals, windows, samples
-- requires: macros.window_shares
-- columns:
--   lane            BIGINT  GPU. Copied from `intervals`, which has lane, group_id, start_ns and end_ns; intervals of a
--                           group do not overlap.
--   group_id        ANY     Copied from `intervals`.
--   counter         VARCHAR 'tensor_active', 'sm_active', 'sm_issue', 'dram_read' or 'dram_write'.
--   window_count    BIGINT  Windows in which the group is busy. `windows` is as load.metric_windows.
--   sampled_busy_ns BIGINT  Busy time of the group in them. Unit: ns.
--   alone_ratio     DOUBLE  Share of it in windows in which no other group is busy.
--   sm_clock_hz     DOUBLE  Clock of the SMs, mean over the busy time; NULL if it was not sampled. Unit: Hz.
--   busy_ratio      DOUBLE  The counter per busy time. `samples` is as load.counter_samples.
--   low_ratio       DOUBLE  It cannot be less.
--   high_ratio      DOUBLE  It cannot be more.
WITH overlap AS (
    SELECT
        h.lane, h.group_id, h.window_id, h.overlap_ns AS own_ns, w.end_ns - w.start_ns AS window_ns,
        sum(h.overlap_ns) OVER (PARTITION BY h.lane, h.window_id) AS all_ns
    FROM macros.window_shares(intervals, windows) AS h
    JOIN query_table(windows) AS w ON w.lane = h.lane AND w.window_id = h.window_id
),
counted AS (
    SELECT
        o.lane, o.group_id, o.own_ns, o.window_ns, o.all_ns, s.sm_clock_hz,
        unnest([
            {'counter': 'tensor_active', 'ratio': s.tensor_active_ratio}, {'counter': 'sm_active', 'ratio': s.sm_active_ratio},
            {'counter': 'sm_issue', 'ratio': s.sm_issue_ratio}, {'counter': 'dram_read', 'ratio': s.dram_read_ratio},
            {'counter': 'dram_write', 'ratio': s.dram_write_ratio}
        ], recursive := true)
    FROM overlap AS o JOIN query_table(samples) AS s ON s.lane = o.lane AND s.window_id = o.window_id
),
-- Integers, so that sums have the same digits in any order. Unit: 1e-6 ns.
part AS (
    SELECT
        lane, group_id, counter, own_ns, all_ns, (sm_clock_hz * own_ns)::HUGEINT AS clock_ns, ratio IS NOT NULL AS is_sampled,
        (1e6 * least(own_ns, greatest(ratio - 0.005, 0) * window_ns * own_ns / all_ns))::HUGEINT AS active,
        (1e6 * least(own_ns, greatest(0, (ratio - 0.01) * window_ns - (all_ns - own_ns))))::HUGEINT AS low,
        (1e6 * least(own_ns, ratio * window_ns))::HUGEINT AS high
    FROM counted
)
SELECT
    lane, group_id, counter, count(*) AS window_count, sum(own_ns)::BIGINT AS sampled_busy_ns,
    (sum(CASE WHEN own_ns = all_ns THEN own_ns ELSE 0 END) / sum(own_ns))::DOUBLE AS alone_ratio,
    sum(clock_ns) / sum(CASE WHEN clock_ns IS NOT NULL THEN own_ns END) AS sm_clock_hz,
    sum(active) / 1e6 / sum(CASE WHEN is_sampled THEN own_ns END) AS busy_ratio,
    sum(low) / 1e6 / sum(CASE WHEN is_sampled THEN own_ns END) AS low_ratio,
    sum(high) / 1e6 / sum(CASE WHEN is_sampled THEN own_ns END) AS high_ratio
FROM part
GROUP BY lane, group_id, counter
