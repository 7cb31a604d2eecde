-- Distinct texts of ranges: what the phase rules are matched against.
-- Grain: domain, name.
-- materialize: table
-- requires: load.nvtx_ranges
-- columns:
--   domain      VARCHAR  '' for the default domain.
--   name        VARCHAR  Text of the range.
--   pattern     VARCHAR  The text with 1 for every number: the same for texts that differ in numbers alone.
--   range_count BIGINT   How many ranges have it.
SELECT domain, name, regexp_replace(name, '\d+', '1', 'g') AS pattern, count(*) AS range_count
FROM load.nvtx_ranges
GROUP BY domain, name
