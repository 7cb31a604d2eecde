-- NVTX ranges whose recorded end lies before their start; load.nvtx_ranges gives them no length.
-- Grain: range_id.
-- requires: nsys.NVTX_EVENTS
-- columns:
--   range_id BIGINT  Row of the export.
SELECT row_id AS range_id FROM nsys.NVTX_EVENTS WHERE eventType IN (59, 60, 70, 71) AND "end" < "start"
