-- A share in words, for sentences: '63%', '46–79%' where it lies between two values, 'at least 63%' or 'at most 63%' where one is not known.
-- params: least, most
-- returns: VARCHAR  NULL where both are NULL.
SELECT CASE
    WHEN most IS NULL THEN 'at least ' || format(CASE WHEN least < 0.01 THEN '{:.2g}%' ELSE '{:.0f}%' END, 100 * least)
    WHEN least IS NULL THEN 'at most ' || format(CASE WHEN most < 0.01 THEN '{:.2g}%' ELSE '{:.0f}%' END, 100 * most)
    WHEN most < 0.01 THEN '<1%'
    WHEN least < 0.01 THEN format('<1–{:.0f}%', 100 * most)
    WHEN round(100 * most) > round(100 * least) THEN format('{:.0f}–{:.0f}%', 100 * least, 100 * most)
    ELSE format('{:.0f}%', 100 * least)
END
