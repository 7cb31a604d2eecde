-- Whether phases were looked for in the launches, what they make up, and why there are none.
-- Grain: one row.
-- materialize: table
-- requires: input.inference
-- columns:
--   is_wanted BOOLEAN  Whether they were looked for.
--   is_forced BOOLEAN  Whether ranges are no phases then: `--infer`.
--   reason    VARCHAR  Why none were found, NULL where some were.
--   hierarchy VARCHAR  What steps are made of and make up: '16 attention kernels < 136 steps < 4 requests'. NULL if nothing tells.
SELECT is_wanted, is_forced, reason, hierarchy FROM input.inference
