-- What nsys says about the capture and the export, as names and values; empty in exports before nsys 2022.
-- Of traces of torch.profiler: what stands beside the events (`torch_profiler:…`).
-- Environment variables of the profiled program are left out: what is made of a trace gets shared.
-- Grain: source, name, value.
-- requires: nsys.META_DATA_CAPTURE, nsys.META_DATA_EXPORT, nsys.EXPORT_META_DATA
-- columns:
--   source VARCHAR  'capture' or 'export'.
--   name   VARCHAR  Name that nsys gives.
--   value  VARCHAR  Value as text.
SELECT 'capture' AS source, name, value FROM nsys.META_DATA_CAPTURE WHERE coalesce(name, '') NOT LIKE '%ENVIRONMENT_VARIABLE%'
UNION ALL SELECT 'export', name, value FROM nsys.META_DATA_EXPORT
UNION ALL SELECT 'export', name, value FROM nsys.EXPORT_META_DATA
