-- GPUs of one process that work one after the other: a quarter of the phase's time, and half of what its GPUs are idle.
-- Grain: phase.
-- severity: info
-- message: in {place} GPUs of one process take turns: for {at_stake_ns:ms} of the {idle_ns:ms} in which one of its {device_count:,} GPUs is idle,
--   another one works
-- hint: layers on several GPUs (`device_map="auto"`, a pipeline) run one batch on one GPU at a time: split each layer (tensor
--   parallelism), run several batches at once, or use fewer GPUs; the idle classes of `time_budget` have that time, for whatever the host
--   does meanwhile
-- requires: attribute.turns, attribute.phase_spending
-- columns:
--   phase        VARCHAR The phase, NULL in a trace without phases.
--   at_stake_ns  BIGINT  Idle time of GPUs while another GPU of their process works. Unit: ns.
--   budget_part  VARCHAR 'host+launch+latency+sync+api'.
--   place        VARCHAR The phase in a sentence.
--   device_count BIGINT  GPUs of the process.
--   idle_ns      BIGINT  Idle time of all GPUs. Unit: ns.
SELECT t.phase, t.turn_ns AS at_stake_ns, 'host+launch+latency+sync+api' AS budget_part, s.place, t.device_count, t.idle_ns
FROM attribute.turns AS t JOIN attribute.phase_spending AS s ON s.phase IS NOT DISTINCT FROM t.phase
WHERE t.turn_ns >= s.least_ns
