-- Memory that steps allocate or free with calls that are not ordered on a stream, while the GPU is idle.
-- Half of the time inside the calls has to be the GPU's idle time, so that allocating beside a busy GPU is not blamed.
-- Grain: phase.
-- severity: info
-- message: in {place} steps allocate or free memory: {names}{where_called}, {call_ns:ms} in all
-- hint: allocate before the loop or from a caching allocator; a pool that grows or is emptied in every step needs a larger limit; the
--   class `api` of `time_budget` shows the effect
-- empty without: attribute.costly_call_totals WHERE what = 'allocating'
-- requires: attribute.phase_spending, attribute.costly_call_totals
-- columns:
--   phase        VARCHAR The phase, NULL outside every phase.
--   at_stake_ns  BIGINT  Idle time of GPUs inside the calls, at most that of the class. Unit: ns.
--   budget_part  VARCHAR 'api'.
--   place        VARCHAR The phase in a sentence.
--   names        VARCHAR The calls.
--   where_called VARCHAR The range in which most of it is spent.
--   call_ns      BIGINT  Time inside the calls. Unit: ns.
SELECT
    s.phase, least(c.idle_ns, s.api_ns) AS at_stake_ns, 'api' AS budget_part, s.place, c.names, c.place AS where_called,
    c.time_ns AS call_ns
FROM attribute.phase_spending AS s JOIN attribute.costly_call_totals AS c ON c.phase IS NOT DISTINCT FROM s.phase
WHERE c.what = 'allocating' AND 2 * at_stake_ns >= c.time_ns AND at_stake_ns >= s.least_ns
