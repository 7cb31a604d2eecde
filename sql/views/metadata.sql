-- What nsys says about the capture and the export, as names and values; empty in exports before nsys 2022.
-- Of traces of torch.profiler: what stands beside the events (`torch_profiler:…`).
-- Grain: source, name, value.
-- requires: load.metadata
-- columns:
--   source VARCHAR  'capture' or 'export'.
--   name   VARCHAR  Name that nsys gives.
--   value  VARCHAR  Value as text.
SELECT source, name, value FROM load.metadata
