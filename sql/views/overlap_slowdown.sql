-- How much longer kernels take beside communication than the same kernels alone: both share the GPU's SMs, memory and clock.
-- Same are kernels of one name, on one GPU, in steps of one phase and shape, between the same kernels of their stream (four before,
-- four after). Of each such kind five or more must have run beside communication for half of their time, and five without any.
-- Warm-up and cold occurrences are left out, and kernels beside which another one computes.
-- Grain: phase, name.
-- empty without: attribute.overlap_slowdown
-- requires: load.strings, attribute.overlap_slowdown
-- columns:
--   phase          VARCHAR Phase, NULL outside every phase.
--   name           VARCHAR Short kernel name.
--   beside_count   BIGINT  Kernels beside communication that have something to be compared with.
--   alone_count    BIGINT  Kernels that they are compared with.
--   beside_ns      BIGINT  How long those beside communication took. Unit: ns.
--   expected_ns    BIGINT  How long they would have taken alone: the mean of the same kernels alone. Unit: ns.
--   slowed_ns      BIGINT  beside_ns - expected_ns, below 0 if they were faster. Unit: ns.
--   error_ns       BIGINT  Standard error of slowed_ns. Unit: ns.
--   is_significant BOOLEAN Whether slowed_ns is four times error_ns or more, either way.
SELECT
    o.phase, s.value AS name, sum(o.beside_count)::BIGINT AS beside_count, sum(o.alone_count)::BIGINT AS alone_count,
    sum(o.beside_ns)::BIGINT AS beside_ns, sum(o.expected_ns)::BIGINT AS expected_ns, sum(o.slowed_ns)::BIGINT AS slowed_ns,
    round(sqrt(sum(o.variance)))::BIGINT AS error_ns,
    sum(o.slowed_ns) <> 0 AND abs(sum(o.slowed_ns)) >= 4 * sqrt(sum(o.variance)) AS is_significant
FROM attribute.overlap_slowdown AS o JOIN load.strings AS s ON s.string_id = o.name_id
GROUP BY o.phase, s.value
