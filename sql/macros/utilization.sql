-- Utilization: time that the work needs at the hardware's peak / time that it took. MFU of FLOPs, MBU of bytes.
-- NULL where it is above 1, which no hardware can reach: then the work, the peak or the time is another one.
-- params: ideal_ns, taken_ns
-- requires:
-- returns: DOUBLE  The ratio, between 0 and 1.
SELECT CASE WHEN ideal_ns / nullif(taken_ns, 0) <= 1 THEN ideal_ns / nullif(taken_ns, 0) END
