-- What does the host do between one range and the next?
-- Time from the end of a phase's range to the start of the next on its thread: sampling, scheduling, detokenizing.
-- columns:
--   after_phase  VARCHAR  Phase of the range that ended.
--   before_phase VARCHAR  Phase of the range that started.
--   count        BIGINT   Pairs within one request, warm-up left out.
--   total_ns     BIGINT   Sum of the times. Unit: ns.
--   median_ns    DOUBLE   Median. Unit: ns.
--   max_ns       BIGINT   Longest. Unit: ns.
WITH following AS (
    SELECT
        phase AS before_phase,
        lag(phase) OVER thread AS after_phase, start_ns - lag(end_ns) OVER thread AS between_ns
    FROM phases
    WHERE is_measured
    WINDOW thread AS (PARTITION BY process_id, thread_id, request_id ORDER BY start_ns)
)
SELECT
    after_phase, before_phase, count(*) AS "count", sum(between_ns)::BIGINT AS total_ns, median(between_ns) AS median_ns,
    max(between_ns) AS max_ns
FROM following
WHERE between_ns >= 0
GROUP BY after_phase, before_phase
ORDER BY total_ns DESC, after_phase, before_phase
