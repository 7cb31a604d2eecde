-- The text of the range of each occurrence, as its program wrote it.
-- Grain: occurrence_id.
-- requires: attribute.phase_ranges, load.nvtx_ranges
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
--   domain        VARCHAR Domain of the range, '' for the default domain.
--   name          VARCHAR Its text.
SELECT p.occurrence_id, r.domain, r.name
FROM attribute.phase_ranges AS p JOIN load.nvtx_ranges AS r ON r.range_id = p.occurrence_id
