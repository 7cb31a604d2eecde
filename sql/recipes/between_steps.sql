-- What does the host do between one range and the next?
-- Time from the end of a phase's range to the start of the next on its thread: sampling, scheduling, detokenizing.
-- Between the two no range of a phase starts or ends on the thread.
-- columns:
--   after_phase  VARCHAR  Phase of the range that ended.
--   before_phase VARCHAR  Phase of the range that started.
--   count        BIGINT   Pairs within one request. Those with a range in warm-up, or left out as cold, do not count.
--   total_ns     BIGINT   Sum of the times. Unit: ns.
--   median_ns    DOUBLE   Median. Unit: ns.
--   max_ns       BIGINT   Longest. Unit: ns.
WITH span AS (
    SELECT
        {'p': process_id, 't': thread_id, 'r': request_id} AS lane, occurrence_id AS span_id, start_ns, end_ns
    FROM phases
),
event AS (
    SELECT
        span_id AS before_id, is_start, at_ns, lag(span_id) OVER thread AS after_id, lag(is_start) OVER thread AS is_after_start,
        at_ns - lag(at_ns) OVER thread AS between_ns
    FROM sweep('span')
    WINDOW thread AS (PARTITION BY lane ORDER BY step)
)
SELECT
    a.phase AS after_phase, b.phase AS before_phase, count(*) AS "count", sum(e.between_ns)::BIGINT AS total_ns,
    median(e.between_ns) AS median_ns, max(e.between_ns) AS max_ns
FROM event AS e
JOIN phases AS a ON a.occurrence_id = e.after_id
JOIN phases AS b ON b.occurrence_id = e.before_id
WHERE e.is_start AND NOT e.is_after_start AND a.is_measured AND b.is_measured
GROUP BY a.phase, b.phase
ORDER BY total_ns DESC, after_phase, before_phase
