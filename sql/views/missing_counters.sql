-- Hardware counters that the samples of a GPU lack, and why: in the other views they are NULL.
-- Grain: device_id, counter; empty where the capture sampled no counters, or all of them.
-- requires: attribute.missing_counters
-- columns:
--   device_id BIGINT   Joins devices.
--   counter   VARCHAR  'tensor_active', 'sm_active', 'sm_issue', 'dram_read', 'dram_write', 'pcie_rx', 'pcie_tx', 'nvlink_rx',
--                      'nvlink_tx' or 'sm_clock'.
--   reason    VARCHAR  Why no sample has it.
SELECT device_id, counter, reason
FROM attribute.missing_counters
