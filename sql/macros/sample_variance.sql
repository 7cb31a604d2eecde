-- Variance of a sample from its sums of integers, in any order the same to the bit: what var_samp adds up depends on the order.
-- params: n, total, squares
-- returns: DOUBLE  In the square of the unit of `total`; NULL for less than two.
SELECT (n * squares - total::HUGEINT * total)::DOUBLE / nullif(n::DOUBLE * (n - 1), 0)
