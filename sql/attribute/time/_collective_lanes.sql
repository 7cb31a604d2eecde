-- Which streams of communication belong to one communicator, so that the n-th kernel of each is one collective.
-- Algorithm: ranks of a communicator run the same kernels in the same order, and a collective cannot end anywhere before it
-- has started everywhere. So two lanes belong together if their sequences of names are equal and the n-th kernels of both
-- overlap in time, tried on up to 64 of them. (The root of a broadcast may be done before the others begin, and so may a
-- sender: they prove nothing, nor do kernels without times.) Where NCCL says which communicator they are of, that stands for the names.
-- One may have fewer kernels, for a rank that was cut, if NCCL says so or sixteen fit. A lane joins the first lane that it fits; two lanes
-- of one GPU never join.
-- Lanes of nothing but sends and receives are an all-to-all, or a ring, if all of the job's have as many, sixteen at least, and the n-th
-- ones of all overlap. Stages of a pipeline run the same kernels in pairs: theirs do not overlap so, unless there are two, which are a pair.
-- Grain: lane; lanes without a partner are left out.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._communication, macros.collective_kind
-- columns:
--   lane       BIGINT  Joins attribute._communication.
--   group_id   BIGINT  The communicator: its first lane.
--   rank_count BIGINT  Lanes in it.
WITH lane AS (
    SELECT
        lane, any_value(communicator) AS communicator, any_value(process_key) AS process_key, any_value(device_id) AS device_id,
        count(*) AS kernels, hash(list(name ORDER BY number)) AS names, bool_and(coalesce(macros.collective_kind(name) = 'send_recv', false)) AS is_sends
    FROM attribute._communication
    GROUP BY lane
),
mutual AS (
    SELECT
        c.lane, c.number, c.name, c.start_ns, c.end_ns, row_number() OVER (PARTITION BY c.lane ORDER BY c.number) - 1 AS position,
        count(*) OVER (PARTITION BY c.lane) AS kernels
    FROM attribute._communication AS c JOIN lane AS l USING (lane)
    WHERE c.is_placed AND (l.is_sends OR coalesce(macros.collective_kind(c.name), '') NOT IN ('broadcast', 'reduce', 'send_recv'))
),
sampled AS (
    SELECT lane, number, name, start_ns, end_ns FROM mutual WHERE position % greatest(1, kernels // 64) = 0
),
pair AS (
    SELECT
        a.lane AS first_lane, b.lane AS other_lane,
        a.communicator IS NOT NULL OR (b.names = a.names AND b.kernels = a.kernels AND NOT a.is_sends) AS is_likely
    FROM lane AS a
    JOIN lane AS b
        ON b.lane > a.lane AND b.communicator IS NOT DISTINCT FROM a.communicator
        AND (a.communicator IS NOT NULL OR b.names = a.names OR b.kernels <> a.kernels)
    WHERE (a.process_key, a.device_id) <> (b.process_key, b.device_id) AND a.device_id IS DISTINCT FROM b.device_id
        AND a.is_sends = b.is_sends AND (NOT a.is_sends OR b.kernels = a.kernels)
),
fitting AS (
    SELECT p.first_lane, p.other_lane
    FROM pair AS p
    JOIN sampled AS a ON a.lane = p.first_lane
    JOIN mutual AS b ON b.lane = p.other_lane AND b.number = a.number
    GROUP BY p.first_lane, p.other_lane
    HAVING count(*) FILTER (WHERE greatest(a.start_ns, b.start_ns) <= least(a.end_ns, b.end_ns)) >= 0.98 * count(*)
        AND (bool_and(p.is_likely) OR (count(*) >= 16 AND bool_and(a.name = b.name)))
),
joined AS (
    SELECT other_lane AS lane, min(first_lane) AS group_id
    FROM fitting
    -- A lane that fits an earlier one is not the first of its group.
    WHERE first_lane NOT IN (SELECT other_lane FROM fitting)
    GROUP BY other_lane
),
member AS (
    SELECT lane, group_id FROM joined
    UNION ALL
    SELECT DISTINCT group_id, group_id FROM joined
),
counted AS (
    SELECT m.lane, m.group_id, l.is_sends, count(*) OVER (PARTITION BY m.group_id) AS rank_count FROM member AS m JOIN lane AS l USING (lane)
)
SELECT lane, group_id, rank_count
FROM counted
-- Which of several groups of ranks a send is in is not known.
WHERE NOT is_sends OR rank_count = (SELECT count(*) FROM lane WHERE is_sends)
