-- The stretches of time that samples of hardware counters stand for: from a sample to the next one.
-- nsys stamps a sample with the start of its stretch: measured on an H100, activity correlates best with the busy time
-- from the stamp to the next one. The last sample of a GPU, and one before a gap, stand for a stretch of the median length.
-- Grain: lane, window_id; empty where the capture sampled no counters.
-- materialize: table
-- empty without: nsys.GPU_METRICS
-- requires: load.gpu_metrics
-- columns:
--   lane      BIGINT  GPU. Joins load.devices on device_id.
--   window_id BIGINT  1, 2, 3, … in time.
--   start_ns  BIGINT  Stamp of the sample. Unit: ns.
--   end_ns    BIGINT  End of the stretch. Unit: ns.
WITH instant AS (
    SELECT DISTINCT source_id & 255 AS lane, at_ns FROM load.gpu_metrics
),
following AS (
    SELECT lane, at_ns, lead(at_ns) OVER (PARTITION BY lane ORDER BY at_ns) AS next_ns FROM instant
),
typical AS (
    SELECT lane, median(next_ns - at_ns)::BIGINT AS period_ns FROM following GROUP BY lane
)
SELECT
    f.lane, row_number() OVER (PARTITION BY f.lane ORDER BY f.at_ns) AS window_id, f.at_ns AS start_ns,
    least(coalesce(f.next_ns, f.at_ns + t.period_ns), f.at_ns + 2 * t.period_ns)::BIGINT AS end_ns
FROM following AS f JOIN typical AS t USING (lane)
WHERE t.period_ns > 0
