-- What limits each phase by the estimate: FLOPs or bytes?
-- Operations by kind, over all layers and passes; needs a model and shapes.
-- columns:
--   phase                VARCHAR  Name of the phase.
--   kind                 VARCHAR  Kind of operation.
--   flops                BIGINT   FLOPs. Unit: FLOP.
--   bytes                BIGINT   Minimum bytes. Unit: bytes.
--   intensity            DOUBLE   FLOPs per byte.
--   sol_ns               DOUBLE   Time at the speed of light. Unit: ns.
--   sol_ratio            DOUBLE   Share of the phase's time at the speed of light.
SELECT
    phase, kind, sum(flops * layers * occurrences)::BIGINT AS flops, sum(bytes * layers * occurrences)::BIGINT AS bytes,
    (sum(flops * layers * occurrences) / nullif(sum(bytes * layers * occurrences), 0))::DOUBLE AS intensity,
    sum(sol_ns * layers * occurrences) AS sol_ns,
    sum(sol_ns * layers * occurrences) / nullif(sum(sum(sol_ns * layers * occurrences)) OVER (PARTITION BY phase), 0)
        AS sol_ratio
FROM ops
GROUP BY phase, kind
ORDER BY phase, sol_ns DESC NULLS LAST, kind
