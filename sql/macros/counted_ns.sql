-- What a counter summed up in stretches of time: its ratio, less half of what it may be rounded up by, times their lengths.
-- NULL if none has a ratio. In integers, so that it has the same digits in any order.
-- greatest() passes over a NULL, so a ratio that is NULL is left out.
-- params: ratio, rounding_ratio, share_ns
-- returns: DOUBLE  True to 1e-9 ns a row. Unit: ns.
SELECT sum(CASE WHEN ratio IS NOT NULL THEN (1e9 * greatest(ratio - rounding_ratio / 2, 0) * share_ns)::HUGEINT END) / 1e9
