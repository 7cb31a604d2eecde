-- Phases in which hardware counters saw far more than the estimate needs: more ran than the model asks for.
-- Algorithm: half as much again beyond the error of sampling, and a twentieth of the busy time. DRAM only in phases that
-- are bound by memory: elsewhere activations between kernels move many times the minimum. Not with parts that nobody counts.
-- Grain: phase, counter.
-- severity: info
-- message: in {phase} {what} {measured_ratio:%} of the busy time (error {error_ratio:%}), and the estimate needs {executed_ratio:%}: {cause}
-- hint: `llmperf sql TRACE "from kernel_counters"` says which kernels; `llmperf ncu` measures them
-- empty without: load.counter_samples
-- requires: estimate.counter_checks, input.model
-- columns:
--   phase          VARCHAR The phase.
--   at_stake_ns    BIGINT  Busy time that the estimate does not explain. Unit: ns.
--   what           VARCHAR What was measured.
--   measured_ratio DOUBLE  What it was.
--   error_ratio    DOUBLE  How far that may be off.
--   executed_ratio DOUBLE  What the estimate needs, with a full attention mask.
--   cause          VARCHAR What it may be.
SELECT
    phase, (busy_ns * (measured_ratio - error_ratio - executed_ratio))::BIGINT AS at_stake_ns,
    CASE counter WHEN 'tensor' THEN 'the tensor pipe was active' ELSE 'DRAM was read and written at peak rate for' END AS what,
    measured_ratio, error_ratio, executed_ratio,
    CASE
        WHEN counter = 'dram'
            THEN 'copies and casts between kernels, a cache that is read in full or expanded, or a larger model or shape ran'
        WHEN phase IN ('backward', 'step') THEN 'recomputation (checkpointing), or a larger model or shape ran'
        WHEN tokens_per_pass < 64 THEN 'padding: ' || round(tokens_per_pass)::BIGINT || ' tokens a pass do not fill a tile of a product'
        ELSE 'padding of sequences to one length, or a larger model or shape ran'
    END AS cause
FROM estimate.counter_checks
WHERE measured_ratio - error_ratio > 1.5 * executed_ratio AND measured_ratio - error_ratio > executed_ratio + 0.05
    AND (counter = 'tensor' OR "limit" = 'memory') AND NOT EXISTS (FROM input.model WHERE not_counted IS NOT NULL)
