-- What must hold on every trace, checked on this one.
-- Grain: name.
-- requires: attribute.conservation, attribute.kernel_totals, attribute.occurrence_times, attribute.windows, attribute.phase_devices, attribute.phase_ranges, attribute.request_times, load.nvtx_ranges, load.reversed_ranges, load.strings, estimate.phase_costs, estimate.other_models
-- columns:
--   name   VARCHAR  Name of the check.
--   passed BOOLEAN  Whether it holds.
--   detail VARCHAR  The numbers.
WITH busy AS (
    SELECT
        count(*) AS groups,
        coalesce(bool_and(gpu_busy_ns <= gpu_span_ns AND gpu_busy_ns <= kernel_time_ns + memop_time_ns + graph_time_ns), true)
            AS passed
    FROM attribute.phase_devices
),
spent AS (
    SELECT device_id, sum(time_ns)::BIGINT AS time_ns, min(time_ns) AS least_ns
    FROM attribute.occurrence_times
    GROUP BY device_id
),
measured AS (
    SELECT device_id, sum(end_ns - start_ns)::BIGINT AS window_ns FROM attribute.windows GROUP BY device_id
),
budget AS (
    SELECT
        count(*) AS devices, coalesce(bool_and(coalesce(time_ns = window_ns AND least_ns > 0, false)), true) AS passed,
        coalesce(sum(time_ns), 0)::BIGINT AS time_ns, coalesce(sum(window_ns), 0)::BIGINT AS window_ns
    FROM measured FULL JOIN spent USING (device_id)
),
ratio AS (
    SELECT
        count(highest_ratio) AS phases, coalesce(bool_and(coalesce(highest_ratio <= 1, true)), true) AS passed,
        max(highest_ratio) AS highest
    FROM estimate.phase_costs
),
wall AS (
    SELECT count(*) AS negative
    FROM (
        SELECT occurrence_id FROM attribute.phase_ranges WHERE wall_ns < 0
        UNION SELECT range_id FROM load.reversed_ranges
    )
),
request AS (
    SELECT
        count(*) AS requests, count(*) FILTER (WHERE ttft_ns < 0) AS ttft, count(*) FILTER (WHERE tpot_ns < 0) AS tpot
    FROM attribute.request_times
),
-- A request of llmperf's own markers is one generation call: its prompt comes first. Others may be a whole chat.
order_of_phases AS (
    SELECT count(*) AS reversed
    FROM (
        SELECT p.request_id
        FROM attribute.phase_ranges AS p JOIN load.nvtx_ranges AS r ON r.range_id = p.request_id
        WHERE r.domain = 'llmperf'
        GROUP BY p.request_id
        HAVING max(p.start_ns) FILTER (WHERE p.phase = 'prefill') > min(p.start_ns) FILTER (WHERE p.phase = 'decode')
    )
)
SELECT name, passed, detail FROM attribute.conservation
UNION ALL
SELECT
    'conservation.budget', passed,
    format('{:,} ns in classes of phases and outside; {:,} ns measured; {} GPU(s)', time_ns, window_ns, devices)
FROM budget
UNION ALL
SELECT 'busy.bounded', passed, format('busy ≤ span and busy ≤ summed time for {} phase(s) on GPUs', groups) FROM busy
UNION ALL
SELECT
    'utilization.bounded', passed AND NOT EXISTS (FROM estimate.other_models),
    CASE
        WHEN EXISTS (FROM estimate.other_models) THEN 'the model is another one than ran'
        WHEN highest IS NULL THEN 'no MFU or MBU to check'
        ELSE format('highest of MFU and MBU is {:.3f}', highest)
    END
FROM ratio
UNION ALL
SELECT
    'names.known', coalesce(sum(k."count") FILTER (WHERE s.string_id IS NULL), 0) = 0,
    format('{:,} kernels with a name that the trace does not spell out',
        coalesce(sum(k."count") FILTER (WHERE s.string_id IS NULL), 0)::BIGINT)
FROM attribute.kernel_totals AS k LEFT JOIN load.strings AS s ON s.string_id = k.name_id
WHERE k.name_id IS NOT NULL
UNION ALL
SELECT
    'times.possible', wall.negative + request.ttft + request.tpot + order_of_phases.reversed = 0,
    format('{:,} request(s): {} negative TTFT, {} negative TPOT, {} with a prefill after a decode step; {} range(s) of negative wall time',
        request.requests, request.ttft, request.tpot, order_of_phases.reversed, wall.negative)
FROM wall, request, order_of_phases
