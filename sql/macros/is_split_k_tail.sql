-- Whether a kernel only adds up what the product before it left in pieces (split-K), by its short name.
-- params: kernel_name
-- requires:
-- returns: BOOLEAN  NULL without a name.
SELECT regexp_matches(kernel_name, '(?i)split_?k_?reduce|execute_split_?k_kernel')
