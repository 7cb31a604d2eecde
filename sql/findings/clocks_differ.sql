-- GPU operations that start before the call that launched them is entered: the clocks of GPU and host do not fit.
-- A microsecond is within what nsys can place events by.
-- Grain: one row, none where every operation starts after its call.
-- severity: warning
-- message: {operation_count:,} GPU operations start before the call that launched them, by up to {worst_ns:ms}: the clocks of GPU and
--   host differ by at least that much
-- hint: phases, kernels and busy time do not depend on it; launch latency, TTFT, TPOT and the idle classes of the budget do: record again
-- concerns: attribute.occurrence_times, attribute.request_times, attribute.work_by_occurrence
-- requires: attribute.gpu_work
-- columns:
--   phase           VARCHAR NULL: clocks are of the whole trace.
--   at_stake_ns     BIGINT  NULL: how far times are off is not known. Unit: ns.
--   operation_count BIGINT  Such operations.
--   worst_ns        BIGINT  Longest time by which one is too early. Unit: ns.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(*) AS operation_count,
    max(launch_start_ns - start_ns)::BIGINT AS worst_ns
FROM attribute.gpu_work
WHERE start_ns < launch_start_ns - 1000 AND start_ns <> end_ns
HAVING count(*) > 0
