-- Phases whose GPU is idle while launching calls run, or between their return and the start of their work.
-- A quarter of a phase's time: with less of it, curing all of it makes the phase less than a third faster.
-- Grain: phase.
-- severity: info
-- message: in {place} the GPU is idle for launches: {launch_ns:ms} inside launching calls, and {latency_ns:ms} from their return to
--   the start of their work
-- hint: fewer launches: CUDA graphs (`capture --cuda-graphs`), torch.compile, fused kernels; the classes `launch` and `latency` of
--   `time_budget` show the effect
-- requires: attribute.phase_spending
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Idle time inside launching calls, and after their return. Unit: ns.
--   budget_part VARCHAR 'launch+latency'.
--   place       VARCHAR The phase in a sentence.
--   share       DOUBLE  at_stake_ns of the measured time of the phase.
--   launch_ns   BIGINT  Part of it inside the calls. Unit: ns.
--   latency_ns  BIGINT  Part of it after their return. Unit: ns.
SELECT
    phase, launch_ns + latency_ns AS at_stake_ns, 'launch+latency' AS budget_part, place,
    (launch_ns + latency_ns) / phase_ns AS share, launch_ns, latency_ns
FROM attribute.phase_spending
WHERE launch_ns + latency_ns >= phase_ns / 4 AND launch_ns + latency_ns >= least_ns
