-- An export that does not say which nsys wrote it.
-- Grain: one row, none if it says so.
-- severity: warning
-- message: the export does not say which nsys wrote it; its tables are those of nsys {generation} (inferred)
-- requires: load.metadata, load.generation, load.recorder
-- columns:
--   phase       VARCHAR NULL: it is about the whole trace.
--   at_stake_ns BIGINT  NULL: no number depends on it. Unit: ns.
--   generation  VARCHAR Releases of nsys that write such tables.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, generation
FROM load.generation
WHERE NOT EXISTS (
    FROM load.metadata
    WHERE source = 'export' AND name IN ('EXPORT_PRODUCT_VERSION', 'EXPORT_SCHEMA_VERSION')
) AND NOT EXISTS (FROM load.recorder WHERE recorder <> 'nsys')
