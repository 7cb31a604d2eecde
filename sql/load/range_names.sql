-- Distinct texts of ranges: what the phase rules are matched against.
-- Grain: domain, name.
-- materialize: table
-- requires: load.nvtx_ranges
-- columns:
--   domain      VARCHAR  '' for the default domain.
--   name        VARCHAR  Text of the range.
--   range_count BIGINT   How many ranges have it.
SELECT domain, name, count(*) AS range_count FROM load.nvtx_ranges GROUP BY domain, name
