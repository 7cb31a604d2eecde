-- How far is each phase from what the hardware could do?
-- MFU and MBU by host wall time and by GPU busy time; needs a model and shapes.
-- columns:
--   phase      VARCHAR  Name of the phase.
--   tokens     BIGINT   Tokens, warm-up left out. Unit: tokens.
--   mfu_wall   DOUBLE   Model FLOPs utilization of host wall time.
--   mfu_busy   DOUBLE   The same of GPU busy time.
--   mbu_wall   DOUBLE   Memory bandwidth utilization of host wall time.
--   mbu_busy   DOUBLE   The same of GPU busy time.
--   is_lower_bound BOOLEAN These are lower bounds: parts of the model are not counted.
--   is_upper_bound BOOLEAN These are upper bounds: what is counted may be too much.
--   sol_ns     DOUBLE   Time at the speed of light. Unit: ns.
--   wall_ns    BIGINT   Host wall time of the same ranges. Unit: ns.
SELECT phase, tokens, mfu_wall, mfu_busy, mbu_wall, mbu_busy, is_lower_bound, is_upper_bound, sol_ns, measured_wall_ns AS wall_ns
FROM phase_summary
ORDER BY measured_wall_ns DESC NULLS LAST, phase
