-- attribute.windows by the name that macros of intervals have for a GPU.
-- Grain: group_id, start_ns.
-- requires: attribute.windows
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT device_id AS group_id, start_ns, end_ns FROM attribute.windows
