-- What limits each phase by the estimate: FLOPs or bytes?
-- Operations by kind, over all layers and passes; needs a model and shapes.
-- columns:
--   phase                VARCHAR  Name of the phase.
--   kind                 VARCHAR  Kind of operation.
--   flops                BIGINT   FLOPs, NULL where only bounds are known. Unit: FLOP.
--   bytes                BIGINT   Minimum bytes. Unit: bytes.
--   intensity            DOUBLE   FLOPs per byte.
--   sol_ns               DOUBLE   Time at the speed of light. Unit: ns.
--   sol_ratio            DOUBLE   Share of the phase's time at the speed of light.
WITH total AS (
    SELECT
        phase, kind, whole_sum(flops * layers * occurrences)::BIGINT AS flops, whole_sum(bytes * layers * occurrences)::BIGINT AS bytes,
        whole_sum(sol_ns * layers * occurrences) AS sol_ns
    FROM ops
    GROUP BY phase, kind
)
SELECT
    phase, kind, flops, bytes, flops / nullif(bytes, 0) AS intensity, sol_ns,
    CASE WHEN count(sol_ns) OVER phase = count(*) OVER phase THEN sol_ns / nullif(sum(sol_ns) OVER phase, 0) END AS sol_ratio
FROM total
WINDOW phase AS (PARTITION BY phase)
ORDER BY phase, sol_ns DESC NULLS LAST, kind
