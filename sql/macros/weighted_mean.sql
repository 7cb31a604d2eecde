-- Mean of values that some rows may lack, by weight; NULL if all do. Summed in the order of `position`, so that it has the
-- same digits each time.
-- params: quantity, weight, position
-- returns: DOUBLE  In the unit of `quantity`.
SELECT sum(quantity * weight ORDER BY "position") / nullif(sum(CASE WHEN quantity IS NOT NULL THEN weight END), 0)
