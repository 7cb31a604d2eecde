-- Inference of a model that nobody named.
-- Grain: one row, none with a model or without prefill and decode.
-- severity: warning
-- message: the trace does not say which model it ran, so there is no FLOP count, no MFU and no MBU
-- hint: pass --model and the request shape, as in --model llama-3.2-1b --shape 8x512+32
-- requires: attribute.phase_walls, input.model
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  Wall time of prefill and decode. Unit: ns.
SELECT NULL::VARCHAR AS phase, sum(wall_ns)::BIGINT AS at_stake_ns
FROM attribute.phase_walls
WHERE phase IN ('prefill', 'decode') AND NOT EXISTS (FROM input.model)
HAVING count(*) > 0
