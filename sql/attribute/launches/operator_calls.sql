-- Calls of operators with the GPU work that they launched, operators that they called included (total) or not (self).
-- Algorithm: launches of a thread are added up in order of time; a call's total is the sum at its end minus the sum before its
-- start. What its inner operators have is taken off for its own. A launch in the instant in which one call ends and the next begins is
-- the next one's, so that no nanosecond is in the own time of two calls.
-- Grain: range_id.
-- materialize: table
-- empty without: attribute.operator_ranges
-- requires: attribute.operator_ranges, attribute.gpu_work, load.strings, macros.product_dtype
-- columns:
--   range_id      BIGINT   Joins attribute.operator_ranges.
--   operator      VARCHAR  Name of the operator.
--   shapes        VARCHAR  Shapes of its inputs, NULL where they were not recorded.
--   arguments     VARCHAR  See attribute.operator_ranges.
--   occurrence_id BIGINT   The phase: of its thread, else of the first work that it launched. NULL for none.
--   is_repeated   BOOLEAN  Whether it is inside a call of the same operator, which has its time already.
--   host_ns       BIGINT   Its duration. Unit: ns.
--   host_self_ns  BIGINT   Without the operators that it called. Unit: ns.
--   gpu_ns        BIGINT   Sum of the durations of all GPU work launched inside it. Unit: ns.
--   gpu_self_ns   BIGINT   Of this, what no operator that it called launched. Unit: ns.
--   device_id     BIGINT   GPU of its own kernels, NULL for none or several.
--   dtype         VARCHAR  Number format of its own products, as the names of kernels tell it.
WITH launch AS MATERIALIZED (
    SELECT
        global_tid, launch_start_ns AS at_ns, any_value(occurrence_id) AS occurrence_id,
        sum(end_ns - start_ns)::BIGINT AS gpu_ns
    FROM attribute.gpu_work
    WHERE launch_start_ns IS NOT NULL AND global_tid IN (SELECT DISTINCT o.global_tid FROM attribute.operator_ranges AS o)
    GROUP BY ALL
),
summed AS MATERIALIZED (
    SELECT
        global_tid, at_ns, occurrence_id,
        sum(gpu_ns) OVER (PARTITION BY global_tid ORDER BY at_ns ROWS UNBOUNDED PRECEDING)::BIGINT AS until_ns, gpu_ns
    FROM launch
),
bounded AS (
    SELECT o.*, CASE WHEN n.start_ns IS NOT NULL AND o.start_ns < o.end_ns THEN o.end_ns - 1 ELSE o.end_ns END AS last_ns
    FROM attribute.operator_ranges AS o
    LEFT JOIN (SELECT DISTINCT global_tid, start_ns FROM attribute.operator_ranges) AS n
        ON n.global_tid = o.global_tid AND n.start_ns = o.end_ns
),
ended AS (
    SELECT o.*, coalesce(s.until_ns, 0) AS until_end_ns
    FROM bounded AS o
    ASOF LEFT JOIN summed AS s ON s.global_tid = o.global_tid AND s.at_ns <= o.last_ns
),
total AS MATERIALIZED (
    SELECT
        e.*,
        CASE WHEN s.at_ns <= e.last_ns THEN e.until_end_ns - s.until_ns + s.gpu_ns ELSE 0 END AS gpu_ns,
        CASE WHEN s.at_ns <= e.last_ns THEN s.occurrence_id END AS launched_in,
        coalesce(
            max(e.end_ns) OVER (
                PARTITION BY e.global_tid, e.operator ORDER BY e.start_ns, e.end_ns DESC, e.range_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) >= e.end_ns, false
        ) AS is_repeated
    FROM ended AS e
    ASOF LEFT JOIN summed AS s ON s.global_tid = e.global_tid AND s.at_ns >= e.start_ns
),
inner_call AS (
    SELECT outer_id, sum(end_ns - start_ns) AS host_ns, sum(gpu_ns) AS gpu_ns
    FROM total
    WHERE outer_id IS NOT NULL
    GROUP BY outer_id
),
product AS (
    SELECT
        w.range_id, CASE WHEN min(w.device_id) = max(w.device_id) THEN min(w.device_id) END AS device_id,
        max_by(k.dtype, (w.end_ns - w.start_ns, k.dtype)) FILTER (WHERE k.dtype IS NOT NULL) AS dtype
    FROM attribute.gpu_work AS w
    SEMI JOIN attribute.operator_ranges AS o ON o.range_id = w.range_id
    LEFT JOIN (
        SELECT n.name_id, n.full_name_id, macros.product_dtype(short.value, long.value) AS dtype
        FROM (SELECT DISTINCT name_id, full_name_id FROM attribute.gpu_work WHERE kind = 'kernel') AS n
        LEFT JOIN load.strings AS short ON short.string_id = n.name_id
        LEFT JOIN load.strings AS long ON long.string_id = n.full_name_id
    ) AS k ON k.name_id = w.name_id AND k.full_name_id IS NOT DISTINCT FROM w.full_name_id
    WHERE w.kind = 'kernel'
    GROUP BY w.range_id
)
SELECT
    t.range_id, t.operator, t.shapes, t.arguments, coalesce(t.occurrence_id, t.launched_in) AS occurrence_id, t.is_repeated,
    t.end_ns - t.start_ns AS host_ns, greatest(t.end_ns - t.start_ns - coalesce(i.host_ns, 0), 0)::BIGINT AS host_self_ns,
    t.gpu_ns, greatest(t.gpu_ns - coalesce(i.gpu_ns, 0), 0)::BIGINT AS gpu_self_ns, p.device_id, p.dtype
FROM total AS t
LEFT JOIN inner_call AS i ON i.outer_id = t.range_id
LEFT JOIN product AS p ON p.range_id = t.range_id
