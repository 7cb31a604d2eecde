-- What hardware counters say about groups of work, and between which bounds it must be.
-- Algorithm: what a counter summed up in a window is shared among the groups that are busy in it by their busy time. All
-- of it may as well be of one of them, as far as that one was busy: that gives the bounds. nsys rounds a sample up to whole
-- per cents, so half a per cent is taken off, and the bounds are half a per cent wider; NVLink's is a sum of such samples.
-- Grain: lane, group_id, counter. A counter that was not sampled has NULL ratios.
-- params: intervals, samples
-- requires: macros.window_shares
-- columns:
--   lane            BIGINT  GPU. Copied from `intervals`, which has lane, group_id, start_ns and end_ns; intervals of a
--                           group do not overlap.
--   group_id        ANY     Copied from `intervals`.
--   counter         VARCHAR 'tensor_active', 'sm_active', 'sm_issue', 'dram_read', 'dram_write', 'pcie_rx', 'pcie_tx',
--                           'nvlink_rx' or 'nvlink_tx'.
--   window_count    BIGINT  Windows in which the group is busy. `samples` is as load.counter_samples.
--   sampled_busy_ns BIGINT  Busy time of the group in them. Unit: ns.
--   alone_ratio     DOUBLE  Share of it in windows in which no other group is busy.
--   sm_clock_hz     DOUBLE  Clock of the SMs, mean over the busy time; NULL if it was not sampled. Unit: Hz.
--   busy_ratio      DOUBLE  The counter per busy time.
--   low_ratio       DOUBLE  It cannot be less.
--   high_ratio      DOUBLE  It cannot be more.
WITH busy AS (
    SELECT * FROM macros.window_shares(intervals, samples)
),
everyone AS (
    SELECT lane, window_id, sum(overlap_ns)::BIGINT AS overlap_ns FROM busy GROUP BY lane, window_id
),
counted AS (
    SELECT
        b.lane, b.group_id, b.overlap_ns AS own_ns, s.end_ns - s.start_ns AS window_ns, e.overlap_ns AS all_ns, s.sm_clock_hz,
        unnest([
            {'counter': 'tensor_active', 'ratio': s.tensor_active_ratio, 'rounding': 0.01},
            {'counter': 'sm_active', 'ratio': s.sm_active_ratio, 'rounding': 0.01},
            {'counter': 'sm_issue', 'ratio': s.sm_issue_ratio, 'rounding': 0.01},
            {'counter': 'dram_read', 'ratio': s.dram_read_ratio, 'rounding': 0.01},
            {'counter': 'dram_write', 'ratio': s.dram_write_ratio, 'rounding': 0.01},
            {'counter': 'pcie_rx', 'ratio': s.pcie_rx_ratio, 'rounding': 0.01},
            {'counter': 'pcie_tx', 'ratio': s.pcie_tx_ratio, 'rounding': 0.01},
            {'counter': 'nvlink_rx', 'ratio': s.nvlink_rx_ratio, 'rounding': s.nvlink_rx_rounding_ratio},
            {'counter': 'nvlink_tx', 'ratio': s.nvlink_tx_ratio, 'rounding': s.nvlink_tx_rounding_ratio}
        ], recursive := true)
    FROM busy AS b
    JOIN everyone AS e ON e.lane = b.lane AND e.window_id = b.window_id
    JOIN query_table(samples) AS s ON s.lane = b.lane AND s.window_id = b.window_id
),
-- Integers, so that sums have the same digits in any order. Unit: 1e-6 ns.
part AS (
    SELECT
        lane, group_id, counter, own_ns, all_ns, (sm_clock_hz * own_ns)::HUGEINT AS clock_ns, ratio IS NOT NULL AS is_sampled,
        (1e6 * least(own_ns, greatest(ratio - rounding / 2, 0) * window_ns * own_ns / all_ns))::HUGEINT AS active,
        (1e6 * least(own_ns, greatest(0, (ratio - rounding) * window_ns - (all_ns - own_ns))))::HUGEINT AS low,
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
