-- Rules of the user's (--phase) that no range matches: misspelled, most likely.
-- Grain: the rule.
-- severity: warning
-- message: `{option}` matches no range, or only ranges that an earlier rule took
-- hint: `llmperf analyze --list-ranges` lists the ranges of the trace
-- concerns: attribute.phase_ranges
-- empty without: input.phase_rules
-- requires: input.phase_rules, input.range_roles
-- columns:
--   phase       VARCHAR NULL: the phase that it names has no range by it.
--   at_stake_ns BIGINT  NULL: there is nothing that could be added up. Unit: ns.
--   option      VARCHAR The rule as it was given.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, option
FROM input.phase_rules
WHERE rule NOT IN (SELECT rule FROM input.range_roles WHERE rule IS NOT NULL)
