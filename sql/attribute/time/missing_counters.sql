-- Hardware counters that the samples of a GPU lack, and why: in the other views they are NULL.
-- Grain: device_id, counter; empty where the capture sampled no counters, or all of them.
-- materialize: table
-- empty without: load.counter_samples
-- requires: load.counter_samples, load._metric_counters, load._metric_devices
-- columns:
--   device_id BIGINT   Joins load.devices.
--   counter   VARCHAR  'tensor_active', 'sm_active', 'sm_issue', 'dram_read', 'dram_write', 'pcie_rx', 'pcie_tx', 'nvlink_rx',
--                      'nvlink_tx' or 'sm_clock'.
--   reason    VARCHAR  Why no sample has it.
WITH counted AS (
    SELECT
        lane, count(tensor_active_ratio) AS tensor_active, count(sm_active_ratio) AS sm_active, count(sm_issue_ratio) AS sm_issue,
        count(dram_read_ratio) AS dram_read, count(dram_write_ratio) AS dram_write, count(pcie_rx_ratio) AS pcie_rx,
        count(pcie_tx_ratio) AS pcie_tx, count(nvlink_rx_ratio) AS nvlink_rx, count(nvlink_tx_ratio) AS nvlink_tx,
        count(sm_clock_hz) AS sm_clock
    FROM load.counter_samples
    GROUP BY lane
),
told AS (
    FROM counted UNPIVOT (
        sample_count FOR counter IN (
            tensor_active, sm_active, sm_issue, dram_read, dram_write, pcie_rx, pcie_tx, nvlink_rx, nvlink_tx, sm_clock
        )
    )
)
SELECT
    t.lane AS device_id, t.counter,
    CASE
        WHEN EXISTS (
            FROM load._metric_counters AS c JOIN load._metric_devices AS d USING (source_id)
            WHERE c.counter = t.counter AND d.device_id = t.lane
        )
            THEN 'nsys has it for this GPU, and the recording has no sample of it'
        ELSE 'nsys'' metrics of this GPU have none that is known as this counter'
    END AS reason
FROM told AS t
WHERE t.sample_count = 0
