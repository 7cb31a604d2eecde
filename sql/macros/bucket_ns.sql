-- Start of the time bucket that an instant falls into: buckets are `width_ns` wide and begin at 0.
-- params: at_ns, width_ns
-- requires:
-- returns: BIGINT  The bucket's start. Unit: ns.
SELECT at_ns - (at_ns % width_ns + width_ns) % width_ns
