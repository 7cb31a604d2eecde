-- Samples by which nothing passed a link of the GPU, while copies between it and the host ran, or GPUs communicated: nsys rounds up, so
-- that a single byte is one per cent. PCIe carries the copies but where processor and GPU are one module (NVLink-C2C). What GPUs send each
-- other may pass NVLink or PCIe: told if both are sampled and still. Copies and transfers of ten samples: time at which samples were taken,
-- several at once counted once.
-- Grain: phase, device_id, link.
-- severity: warning
-- message: in {phase} {samples:,} samples of GPU {gpu} say that nothing passed {link}, while {what} for {time_ns:ms}: these counters are not those
--   of this work
-- hint: record the counters with nobody else profiling the GPU (DCGM, another nsys)
-- concerns: attribute.phase_counters
-- empty without: attribute.phase_counters
-- requires: attribute.phase_counters, attribute.gpu_work, attribute.occurrences, attribute.collectives, load.memop_details, load.devices,
--   load.counter_samples, macros.islands, macros.covered
-- columns:
--   phase       VARCHAR Name of the phase.
--   at_stake_ns BIGINT  Busy time that the samples cover. Unit: ns.
--   gpu         BIGINT  Its number.
--   link        VARCHAR The link and the direction.
--   samples     BIGINT  Samples whose stamp lies in the phase's busy time.
--   what        VARCHAR What must have passed it.
--   time_ns     BIGINT  Time that it took while samples were taken. Unit: ns.
WITH span AS MATERIALIZED (
    SELECT {'phase': o.phase, 'device_id': coalesce(w.device_id, 0), 'what': d.direction} AS group_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.occurrences AS o USING (occurrence_id)
    JOIN load.memop_details AS d USING (op_id)
    JOIN load.devices AS g ON g.device_id = coalesce(w.device_id, 0)
    WHERE w.kind = 'memcpy' AND o.is_measured AND w.end_ns > w.start_ns AND d.direction IN ('Host-to-Device', 'Device-to-Host')
        AND NOT coalesce(regexp_matches(g.name, '\b(GH|GB|VR)\d'), false)
    UNION ALL
    SELECT {'phase': o.phase, 'device_id': coalesce(c.device_id, 0), 'what': 'communication'}, c.end_ns - c.transfer_ns, c.end_ns
    FROM attribute.collectives AS c JOIN attribute.occurrences AS o USING (occurrence_id)
    WHERE o.is_measured AND c.transfer_ns > 0
),
merged AS MATERIALIZED (
    SELECT row_number() OVER () AS span_id, group_id AS kind, group_id.device_id AS group_id, start_ns, end_ns FROM macros.islands('span')
),
sampled AS MATERIALIZED (
    SELECT lane AS group_id, start_ns, end_ns FROM load.counter_samples
),
moved AS (
    SELECT m.kind.phase AS phase, m.kind.device_id AS device_id, m.kind.what AS what, sum(c.covered_ns)::BIGINT AS time_ns
    FROM merged AS m JOIN macros.covered('merged', 'sampled') AS c USING (span_id)
    GROUP BY m.kind
)
SELECT
    c.phase, c.sampled_busy_ns AS at_stake_ns, c.device_id AS gpu,
    CASE m.what WHEN 'Host-to-Device' THEN 'PCIe to it' WHEN 'Device-to-Host' THEN 'PCIe from it' ELSE 'NVLink and PCIe' END AS link,
    c.samples, CASE m.what WHEN 'communication' THEN 'GPUs communicated' ELSE m.what || ' copies ran' END AS what, m.time_ns
FROM attribute.phase_counters AS c JOIN moved AS m ON m.phase = c.phase AND m.device_id = c.device_id
WHERE c.samples >= 10 AND m.time_ns * c.samples >= 10 * c.sampled_busy_ns
    AND CASE m.what
        WHEN 'Host-to-Device' THEN c.pcie_rx_ratio = 0
        WHEN 'Device-to-Host' THEN c.pcie_tx_ratio = 0
        ELSE c.nvlink_rx_ratio = 0 AND c.nvlink_tx_ratio = 0 AND c.pcie_rx_ratio = 0 AND c.pcie_tx_ratio = 0
    END
