-- Phases whose GPU is idle inside CUDA calls that neither launch nor wait, load code or allocate: queries, events, attributes, graphs' updates.
-- A quarter of a phase's time, as of host code: the verdict then says host-bound for such calls. Not of what is outside every phase of a
-- trace with phases: what loads or allocates there is not told apart.
-- Grain: phase.
-- severity: info
-- message: in {place} the GPU is idle inside CUDA calls that neither launch, wait, load code nor allocate memory
-- hint: the recipe `api_calls_by_phase` names them; leave out of steps what need not be asked or set in each (events, attributes, queries,
--   updates of graphs); the class `api` of `time_budget` shows the effect
-- empty without: attribute.phase_spending WHERE api_ns >= phase_ns / 4
-- requires: attribute.phase_spending, attribute.costly_call_totals
-- columns:
--   phase       VARCHAR The phase, NULL in a trace without phases.
--   at_stake_ns BIGINT  Time of the class without that in calls that load or allocate. Unit: ns.
--   budget_part VARCHAR 'api'.
--   place       VARCHAR The phase in a sentence.
WITH known AS (
    SELECT phase, sum(idle_ns) AS idle_ns FROM attribute.costly_call_totals WHERE what IN ('loading', 'allocating') GROUP BY phase
),
other AS (
    SELECT s.phase, s.place, s.phase_ns, s.least_ns, greatest(0, s.api_ns - coalesce(k.idle_ns, 0))::BIGINT AS at_stake_ns
    FROM attribute.phase_spending AS s LEFT JOIN known AS k ON k.phase IS NOT DISTINCT FROM s.phase
    WHERE s.phase IS NOT NULL OR s.phase_ns = s.all_ns
)
SELECT phase, at_stake_ns, 'api' AS budget_part, place
FROM other
WHERE at_stake_ns >= phase_ns / 4 AND at_stake_ns >= least_ns
