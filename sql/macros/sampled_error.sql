-- Standard error of an estimate that comes from the number of samples: of `whole` × the share of the samples that are hits.
-- The deviation of a share of which nothing was known before its samples: of the beta distribution.
-- params: whole, hits, samples
-- returns: DOUBLE  In the unit of `whole`.
SELECT whole * sqrt((hits + 1) * (samples + 1 - hits) / (samples + 3)) / (samples + 2)
