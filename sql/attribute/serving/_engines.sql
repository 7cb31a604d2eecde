-- Which engine each process belongs to that marks the steps of one: engines of data-parallel replicas, and servers beside
-- each other, may give their requests the same names.
-- A process of a rank that another one has, too, is of another engine: the first of each rank are one engine, and so on.
-- Grain: process_key.
-- requires: attribute._step_marks, load.ranks
-- columns:
--   process_key BIGINT Joins load.processes.
--   engine      BIGINT Number of the engine, from 1.
WITH marking AS (
    SELECT DISTINCT m.process_key, r.rank, coalesce(r.replica, 0) AS replica
    FROM attribute._step_marks AS m LEFT JOIN load.ranks AS r USING (process_key)
),
numbered AS (
    -- Nothing tells processes without a rank apart.
    SELECT
        *, CASE WHEN rank IS NULL THEN 1 ELSE row_number() OVER (PARTITION BY replica, rank ORDER BY process_key) END AS nth
    FROM marking
)
SELECT process_key, dense_rank() OVER (ORDER BY replica, nth) AS engine FROM numbered
