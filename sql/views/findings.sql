-- What a reader must know before believing the numbers, and what is worth a look, the most important first.
-- Wrong numbers first, then numbers that lack something, then by the time that is at stake.
-- Grain: code, phase, message. docs/findings.md explains each code.
-- requires: findings._all
-- columns:
--   code        VARCHAR  What it is, in a word that stays.
--   severity    VARCHAR  'error': a number is wrong or cannot be trusted; 'warning': a number lacks something, or rests on
--                        an assumption; 'info': worth knowing.
--   phase       VARCHAR  The phase that it is about, NULL where it is about the whole trace.
--   message     VARCHAR  A sentence.
--   hint        VARCHAR  What to do about it, NULL where there is nothing to do.
--   at_stake_ns BIGINT   Time that it is about: of the GPU where there is some, else of the host. NULL where that is not
--                        known. Unit: ns.
--   budget_part VARCHAR  Of a cause, which could be cured: at_stake_ns is the most that the cure would save, and is part of these
--                        classes of the phase's time_budget, joined by '+', or 'outside' of any. NULL for anything else.
SELECT code, severity, phase, message, hint, at_stake_ns, budget_part
FROM findings._all
ORDER BY list_position(['error', 'warning', 'info'], severity), at_stake_ns DESC NULLS LAST, code, phase, message
