-- When the first of some operations of the GPU starts, or of spans of them: of those with times, if any has.
-- params: start_ns, end_ns
-- requires: macros.is_timed
-- returns: BIGINT  Unit: ns.
SELECT coalesce(min(start_ns) FILTER (WHERE macros.is_timed(start_ns, end_ns)), min(start_ns))
