-- Operators that took less time than their estimate needs at the hardware's peak: the estimate cannot be right.
-- Grain: one row, none without such operators.
-- severity: error
-- message: {operator_count:,} operators took less time than their estimate needs at peak, first of all {operator} of {worst_phase}
--   {shape}: {roofline_ratio:%} of the roofline
-- hint: fewer bytes were read than estimated: routing chose fewer experts than uniform routing would, or the data was still in
--   the L2 cache; another --model or --dtype would also explain it
-- concerns: views.operator_summary
-- empty without: views.operator_summary
-- requires: views.operator_summary
-- columns:
--   phase          VARCHAR NULL: it is about all phases with such operators.
--   at_stake_ns    BIGINT  Kernel time of such operators. Unit: ns.
--   operator_count BIGINT  Such operators.
--   operator       VARCHAR The one that is furthest above the roofline.
--   worst_phase    VARCHAR Its phase.
--   shape          VARCHAR Its shape.
--   roofline_ratio DOUBLE  Its speed of light / its time.
SELECT
    NULL::VARCHAR AS phase, sum(time_ns)::BIGINT AS at_stake_ns, count(*) AS operator_count,
    arg_max(operator, (roofline_ratio, operator, phase, shape)) AS operator,
    arg_max(phase, (roofline_ratio, operator, phase, shape)) AS worst_phase,
    arg_max(shape, (roofline_ratio, operator, phase, shape)) AS shape, max(roofline_ratio) AS roofline_ratio
FROM views.operator_summary
WHERE roofline_ratio > 1
HAVING count(*) > 0
