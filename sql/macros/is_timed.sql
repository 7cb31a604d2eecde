-- Whether an operation of the GPU has times. Those that CUPTI could not take are from 0 to 0, or from and to one instant before the
-- recording.
-- params: start_ns, end_ns
-- requires:
-- returns: BOOLEAN  NULL if one is NULL.
SELECT NOT (start_ns = end_ns AND start_ns <= 0)
