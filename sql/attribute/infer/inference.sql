-- Whether phases were looked for in the launches, and why there are none.
-- Grain: one row.
-- materialize: table
-- requires: input.inference
-- columns:
--   is_wanted BOOLEAN  Whether they were looked for.
--   is_forced BOOLEAN  Whether ranges are no phases then: `--infer`.
--   reason    VARCHAR  Why none were found, NULL where some were.
SELECT is_wanted, is_forced, reason FROM input.inference
