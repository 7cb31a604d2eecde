-- Sum of values that are all known: one unknown makes the sum unknown, not smaller.
-- params: quantity
-- requires:
-- returns: ANY  In the unit of `quantity`; NULL if a row has none, and without rows.
SELECT CASE WHEN count(quantity) = count(*) THEN sum(quantity) END
