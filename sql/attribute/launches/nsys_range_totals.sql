-- Kernels added up by range name, thread and kernel name by the definitions of `nsys stats --report nvtx_kern_sum`: a
-- kernel counts for every range around its call; processes of equal pid are one.
-- Grain: label, style, process_id, thread_id, kernel.
-- requires: attribute.gpu_work, attribute._nsys_range_kernels, load.nsys_ranges, load.gpu_ops, load.api_calls, load.strings
-- columns:
--   label            VARCHAR  'domain:text', '' for kernels in no range.
--   style            VARCHAR  'PushPop', 'StartEnd', or '' for kernels in no range.
--   process_id       BIGINT   Operating-system pid of the launching thread, NULL where the call was not recorded.
--   thread_id        BIGINT   Operating-system tid of the launching thread.
--   kernel           VARCHAR  Demangled kernel name.
--   range_count      BIGINT   Ranges that hold such a kernel's call.
--   kernel_count     BIGINT   Kernels.
--   time_ns          BIGINT   Sum of their durations, once for every range. Unit: ns.
--   repeated_time_ns BIGINT   The same, once for every recorded row of the call: `--cudabacktrace` records some twice.
--                             Unit: ns.
WITH repeated AS (
    SELECT process_key, correlation_id, count(*) AS copies
    FROM load.api_calls
    GROUP BY process_key, correlation_id
    HAVING count(*) > 1
),
repeated_op AS (
    SELECT o.op_id, r.copies
    FROM load.gpu_ops AS o
    JOIN repeated AS r ON r.process_key = o.process_key AND r.correlation_id = o.correlation_id
)
SELECT
    coalesce(r."label", '') AS "label", coalesce(r.style, '') AS style,
    (w.global_tid >> 24) & 16777215 AS process_id, w.global_tid & 16777215 AS thread_id,
    coalesce(n.value, '') AS kernel,
    count(DISTINCT r.range_id) AS range_count, count(DISTINCT w.op_id) AS kernel_count,
    sum(w.end_ns - w.start_ns)::BIGINT AS time_ns,
    sum((w.end_ns - w.start_ns) * coalesce(repeated_op.copies, 1))::BIGINT AS repeated_time_ns
FROM attribute.gpu_work AS w
LEFT JOIN attribute._nsys_range_kernels AS k USING (op_id)
LEFT JOIN load.nsys_ranges AS r ON r.range_id = k.range_id
LEFT JOIN load.strings AS n ON n.string_id = w.full_name_id
LEFT JOIN repeated_op ON repeated_op.op_id = w.op_id
WHERE w.kind = 'kernel'
GROUP BY ALL
