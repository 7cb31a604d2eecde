-- Instants at which it matters how much a GPU has computed so far, as spans from the beginning: starts and ends of communication
-- kernels, 5 µs before their ends, and starts and ends of work that does not compute.
-- Grain: span_id; group_id, end_ns.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication, attribute._other_work_spans
-- columns:
--   span_id  BIGINT  Number.
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Before everything. Unit: ns.
--   end_ns   BIGINT  The instant. Unit: ns.
WITH instant AS (
    SELECT device_id AS group_id, unnest([start_ns, end_ns, greatest(start_ns, end_ns - 5000)]) AS end_ns FROM attribute._communication
    UNION
    SELECT group_id, unnest([start_ns, end_ns]) FROM attribute._other_work_spans
)
SELECT row_number() OVER () AS span_id, group_id, -9223372036854775807 AS start_ns, end_ns FROM instant
