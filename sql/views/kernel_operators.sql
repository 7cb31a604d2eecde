-- Which operator each kernel computes, and what the estimate says of it: what a profile by Nsight Compute is held against.
-- From the framework's operators (`capture --ops`, torch.profiler) if the trace has them, else from the order of the products in
-- marked layers (`capture --layers`), else from their order in a pass of a dense decoder. Warm-up and cold passes are left out.
-- Grain: kernel_id.
-- requires: attribute.gpu_work, attribute.occurrences, attribute.kernel_families, load.strings, attribute.operator_calls, input.operator_shapes, estimate._named_kernels, estimate._ordered_kernels, estimate._operator_costs, input.occurrence_shapes
-- columns:
--   kernel_id      BIGINT   Joins kernels.
--   phase          VARCHAR  Name of the phase.
--   occurrence_id  BIGINT   Joins phases.
--   name           VARCHAR  Short kernel name.
--   launch_index   BIGINT   1, 2, 3, … of the launches of this name in the occurrence.
--   dur_ns         BIGINT   Its duration. Unit: ns.
--   operator       VARCHAR  The framework's operator ('aten::mm') or the model's ('qkv', 'attention', 'o', 'gate_up', 'down', …), or
--                           NULL.
--   source         VARCHAR  'operators', 'layers' or 'order'; NULL without an operator.
--   is_helper      BOOLEAN  Whether it only prepares or adds up what another kernel of its operator computes.
--   flops          DOUBLE   Its share of the operator's FLOPs, NULL if that is not known. Unit: FLOP.
--   bytes          DOUBLE   Its share of the operator's minimum bytes: weights and KV cache, or inputs and outputs of the framework's
--                           operator. NULL if that is not known. Unit: bytes.
--   operator_flops DOUBLE   FLOPs of the operator in the whole occurrence. Unit: FLOP.
--   operator_bytes DOUBLE   Minimum bytes of the operator in the whole occurrence. Unit: bytes.
--   reason         VARCHAR  Why flops is NULL; NULL where it is known.
WITH kernel AS (
    SELECT
        w.op_id, p.phase, w.occurrence_id, w.range_id, w.end_ns - w.start_ns AS dur_ns, n.value AS name, f.family,
        row_number() OVER (PARTITION BY w.occurrence_id, w.name_id ORDER BY w.launch_start_ns, w.start_ns, w.op_id) AS launch_index
    FROM attribute.gpu_work AS w
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
    LEFT JOIN load.strings AS n ON n.string_id = w.name_id
    WHERE w.kind = 'kernel' AND p.is_measured
),
format(dtype, bits) AS (
    VALUES ('fp4', 4), ('fp8', 8), ('int8', 8), ('16-bit', 16), ('tf32', 32), ('fp32', 32)
),
called AS (
    SELECT
        k.op_id, k.occurrence_id, k.name, k.dur_ns, c.range_id AS part_id, c.operator, 'operators' AS source, false AS is_helper,
        cost.flops::DOUBLE AS part_flops, cost.elements * f.bits / 8 AS part_bytes
    FROM kernel AS k
    JOIN attribute.operator_calls AS c ON c.range_id = k.range_id
    LEFT JOIN input.operator_shapes AS cost
        ON cost.operator = c.operator AND cost.shapes = c.shapes AND cost.arguments IS NOT DISTINCT FROM c.arguments
    LEFT JOIN format AS f ON f.dtype = c.dtype
),
placed AS (
    SELECT op_id, occurrence_id, block_id, is_helper, operator, 'layers' AS source FROM estimate._named_kernels
    UNION ALL
    SELECT op_id, occurrence_id, block_id, is_helper, operator, 'order' FROM estimate._ordered_kernels
),
part_count AS (
    SELECT occurrence_id, operator, count(DISTINCT coalesce(block_id, -1)) AS parts FROM placed GROUP BY ALL
),
costed AS (
    SELECT DISTINCT o.occurrence_id FROM input.occurrence_shapes AS o JOIN estimate._operator_costs AS c USING (shape_id)
),
modelled AS (
    SELECT
        k.op_id, k.occurrence_id, k.name, k.dur_ns, coalesce(p.block_id, -1) AS part_id, p.operator, p.source, p.is_helper,
        CASE WHEN c.is_even AND c.layers = n.parts THEN c.flops / c.layers END AS part_flops,
        CASE WHEN c.is_even AND c.layers = n.parts THEN c.bytes / c.layers END AS part_bytes,
        CASE WHEN c.layers = n.parts THEN c.flops::DOUBLE END AS operator_flops,
        CASE WHEN c.layers = n.parts THEN c.bytes::DOUBLE END AS operator_bytes
    FROM kernel AS k
    JOIN placed AS p USING (op_id)
    JOIN part_count AS n ON n.occurrence_id = p.occurrence_id AND n.operator = p.operator
    LEFT JOIN input.occurrence_shapes AS o ON o.occurrence_id = k.occurrence_id
    LEFT JOIN estimate._operator_costs AS c ON c.shape_id = o.shape_id AND c.operator = p.operator
    WHERE k.op_id NOT IN (SELECT op_id FROM called WHERE part_flops IS NOT NULL)
),
either AS (
    SELECT *, NULL::DOUBLE AS operator_flops, NULL::DOUBLE AS operator_bytes
    FROM called
    WHERE op_id NOT IN (SELECT op_id FROM modelled)
    UNION ALL
    FROM modelled
),
-- What a part's kernels that are no helpers are called: one name has all of its FLOPs, of several nobody knows who has which.
main_name AS (
    SELECT occurrence_id, operator, source, part_id, max_by(name, (dur_ns, name)) AS name, count(DISTINCT name) AS names
    FROM either
    WHERE NOT is_helper
    GROUP BY ALL
),
shared AS (
    SELECT
        e.*, m.name AS main_name, m.names,
        CASE
            WHEN e.name = m.name AND NOT e.is_helper AND (m.names = 1 OR e.source = 'operators')
                THEN 1 / count(CASE WHEN e.name = m.name AND NOT e.is_helper THEN 1 END) OVER part
        END AS share
    FROM either AS e LEFT JOIN main_name AS m USING (occurrence_id, operator, source, part_id)
    WINDOW part AS (PARTITION BY e.occurrence_id, e.operator, e.source, e.part_id)
)
SELECT
    k.op_id AS kernel_id, k.phase, k.occurrence_id, k.name, k.launch_index, k.dur_ns, s.operator, s.source,
    coalesce(s.is_helper OR (s.source = 'operators' AND s.share IS NULL), false) AS is_helper,
    s.part_flops * s.share AS flops, s.part_bytes * s.share AS bytes,
    CASE
        WHEN s.source = 'operators' THEN sum(s.part_flops * s.share) OVER operator ELSE s.operator_flops
    END AS operator_flops,
    CASE
        WHEN s.source = 'operators' THEN sum(s.part_bytes * s.share) OVER operator ELSE s.operator_bytes
    END AS operator_bytes,
    CASE
        WHEN s.part_flops * s.share IS NOT NULL THEN NULL
        WHEN s.op_id IS NULL AND k.family NOT IN ('gemm', 'gemv', 'attention')
            THEN 'the estimate counts products and attention alone, and this is neither'
        WHEN k.occurrence_id NOT IN (FROM costed) AND s.source IS DISTINCT FROM 'operators'
            THEN 'no model or no shape is known: --model, --shape'
        WHEN s.op_id IS NULL THEN 'layers are not marked, and the order of products does not tell: capture with --layers or --ops'
        WHEN s.source = 'operators' AND s.share IS NULL THEN 'its operator counts with ' || s.main_name
        WHEN s.source = 'operators' THEN 'the FLOPs of ' || s.operator || ' are not known'
        WHEN s.operator = 'other' THEN 'outside the operators of the model'
        WHEN s.is_helper THEN 'it only prepares or adds up what another kernel computes'
        WHEN s.operator_flops IS NULL THEN 'the layers of the trace are not those of the model'
        WHEN s.part_flops IS NULL THEN 'layers of several kinds differ in ' || s.operator
        ELSE 'kernels of ' || s.names || ' names compute ' || s.operator
    END AS reason
FROM kernel AS k LEFT JOIN shared AS s ON s.op_id = k.op_id
WINDOW operator AS (PARTITION BY k.occurrence_id, s.operator, s.source)
