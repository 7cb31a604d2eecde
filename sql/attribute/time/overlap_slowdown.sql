-- How much longer kernels take beside communication than the same ones alone: both share the GPU's SMs, memory and clock.
-- Algorithm: kernels that do the same work (attribute._compute_beside_communication) are compared where five of them or more ran
-- beside communication for half of their time or more, and five or more without any. Those beside it are expected to take the mean of
-- those alone. The variance of the difference is that of both means, as in Welch's test, added up over kinds of work. Squares are
-- added up as integers, and what is none in order of size, so that two runs agree to the bit. No kernel takes a quarter of an hour:
-- times beyond are damage, and their squares too large.
-- Grain: phase, name_id.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._compute_beside_communication, macros.sample_variance
-- columns:
--   phase        VARCHAR Phase, NULL outside every phase.
--   name_id      BIGINT  Short name of the kernel. Joins load.strings.
--   beside_count BIGINT  Kernels beside communication that have something to be compared with.
--   alone_count  BIGINT  Kernels that they are compared with.
--   beside_ns    BIGINT  How long those beside communication took. Unit: ns.
--   expected_ns  BIGINT  How long they would have taken alone. Unit: ns.
--   slowed_ns    BIGINT  The difference, below 0 if they were faster. Unit: ns.
--   variance     DOUBLE  Of slowed_ns. Unit: ns².
WITH kind AS (
    SELECT
        phase, name_id, kind_hash, count(*) FILTER (2 * beside_ns >= dur_ns) AS beside_count,
        count(*) FILTER (beside_ns = 0) AS alone_count,
        sum(dur_ns) FILTER (2 * beside_ns >= dur_ns) AS beside_ns, avg(dur_ns) FILTER (beside_ns = 0) AS alone_ns,
        macros.sample_variance(
            count(*) FILTER (2 * beside_ns >= dur_ns), sum(dur_ns) FILTER (2 * beside_ns >= dur_ns),
            sum(dur_ns::HUGEINT * dur_ns) FILTER (2 * beside_ns >= dur_ns)
        ) AS beside_variance,
        macros.sample_variance(
            count(*) FILTER (beside_ns = 0), sum(dur_ns) FILTER (beside_ns = 0), sum(dur_ns::HUGEINT * dur_ns) FILTER (beside_ns = 0)
        ) AS alone_variance
    FROM attribute._compute_beside_communication
    WHERE dur_ns < 1000000000000
    GROUP BY phase, name_id, kind_hash
    HAVING count(*) FILTER (2 * beside_ns >= dur_ns) >= 5 AND count(*) FILTER (beside_ns = 0) >= 5
),
part AS (
    SELECT
        *, beside_count * alone_ns AS part_ns,
        beside_count * beside_count * (beside_variance / beside_count + alone_variance / alone_count) AS part_variance
    FROM kind
)
SELECT
    phase, name_id, sum(beside_count)::BIGINT AS beside_count, sum(alone_count)::BIGINT AS alone_count, sum(beside_ns)::BIGINT AS beside_ns,
    round(sum(part_ns ORDER BY part_ns))::BIGINT AS expected_ns,
    (sum(beside_ns) - round(sum(part_ns ORDER BY part_ns)))::BIGINT AS slowed_ns,
    sum(part_variance ORDER BY part_variance) AS variance
FROM part
GROUP BY phase, name_id
