-- The estimate: what one forward pass of each shape in the trace must compute and move, operation by operation.
-- Sums over `layers` and `occurrences` give a phase's totals; a tensor-parallel rank has its share.
-- Grain: phase, shape, layer, name. Empty without a model or without shapes; warm-up is left out.
-- requires: input.shape_ops, input.shapes, input.occurrence_shapes, attribute.occurrences
-- columns:
--   phase            VARCHAR  Name of the phase.
--   shape            VARCHAR  batch x new tokens @ cached tokens.
--   occurrences      BIGINT   Passes of this shape, warm-up left out.
--   layer            VARCHAR  Kind of layer that has the operation.
--   layers           BIGINT   Layers of the kind: multiply by it.
--   kind             VARCHAR  Kind of operation: 'gemm', 'attention', 'norm', …
--   name             VARCHAR  Name of the operation.
--   m                BIGINT   Rows of the product. For attention: query tokens.
--   n                BIGINT   Columns of the product. For attention: keys attended by the average query, NULL where only
--                             bounds of the lengths are known.
--   k                BIGINT   Inner dimension of the product. For attention: dimension of a head.
--   batch            BIGINT   Products of this size. For attention: heads.
--   dtype            VARCHAR  What the product runs in.
--   flops            BIGINT   FLOPs of one layer's operation, NULL where only bounds are known. Unit: FLOP.
--   bytes            BIGINT   Minimum bytes of one layer's operation: weights + KV read + KV written. Unit: bytes.
--   weight_bytes     BIGINT   Weights it touches. Unit: bytes.
--   kv_read_bytes    BIGINT   KV cache it reads. Unit: bytes.
--   kv_write_bytes   BIGINT   KV cache it writes. Unit: bytes.
--   activation_bytes BIGINT   Its inputs and outputs if nothing were fused; not part of bytes. Unit: bytes.
--   comm_bytes       BIGINT   Bytes it sends between GPUs; not part of bytes. Unit: bytes.
--   sol_ns           DOUBLE   Speed of light of one layer's operation; NULL where the trace has several kinds of GPU or
--                             one whose peaks are not known. Unit: ns.
WITH counted AS (
    SELECT p.phase, o.shape_id, count(*) AS occurrences
    FROM attribute.occurrences AS p JOIN input.occurrence_shapes AS o USING (occurrence_id)
    WHERE p.is_measured
    GROUP BY p.phase, o.shape_id
)
SELECT
    c.phase, s."label" AS shape, c.occurrences, e.layer, e.layers, e.kind, e.name, e.m, e.n, e.k, e.batch, e.dtype,
    e.flops, e.bytes, e.weight_bytes, e.kv_read_bytes, e.kv_write_bytes, e.activation_bytes, e.comm_bytes, e.sol_ns
FROM counted AS c
JOIN input.shapes AS s USING (shape_id)
JOIN input.shape_ops AS e USING (shape_id)
