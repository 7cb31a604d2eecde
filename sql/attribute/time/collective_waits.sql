-- When a GPU runs a collective that another of its ranks has not started: it waits. None is known yet: ranks of one
-- collective are not matched, so that all of its time counts as transfer.
-- Grain: device_id, start_ns; the waits of a GPU do not overlap.
-- requires:
-- columns:
--   device_id BIGINT  The GPU that waits. Joins load.devices.
--   start_ns  BIGINT  Start of the wait. Unit: ns.
--   end_ns    BIGINT  Its end: the last of the ranks starts. Unit: ns.
SELECT NULL::BIGINT AS device_id, NULL::BIGINT AS start_ns, NULL::BIGINT AS end_ns WHERE false
