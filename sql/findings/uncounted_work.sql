-- Tables of the export with GPU work that no number is about.
-- Grain: one row, none without such tables.
-- severity: warning
-- message: the trace has GPU work that is not counted: {tables}
-- hint: see it with llmperf sql TRACE "from nsys.TABLE"
-- concerns: load.gpu_ops
-- requires: load.session
-- columns:
--   phase       VARCHAR NULL: it is attributed to no phase.
--   at_stake_ns BIGINT  Their durations, added up. Unit: ns.
--   tables      VARCHAR Names of the tables.
SELECT NULL::VARCHAR AS phase, uncounted_ns AS at_stake_ns, uncounted_tables AS tables
FROM load.session
WHERE uncounted_tables IS NOT NULL
