-- Which occurrences of different ranks are one step of the job.
-- Algorithm: occurrences of one phase that take part in the same collective are one step. One without a collective that is matched
-- is as many after the last one that has some, on each of its ranks, as it is on the others, if all have as many there. Passes of
-- training are also counted from the first, if that agrees with the collectives and the ranks have as many.
-- Replicas of a server that have requests of their own share no collective, and no step.
-- Grain: occurrence_id, step_name; occurrences that no other rank shares may be absent.
-- materialize: table
-- empty without: load.ranks WHERE len(device_ids) > 1 OR process_key > (SELECT min(process_key) FROM load.ranks)
-- requires: attribute.collectives, attribute.phase_ranges, attribute.training_passes, load.ranks, load.trace_files
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   step_name     VARCHAR  The same for the ranks that share it.
WITH rank AS (
    SELECT process_key, bool_or(world > 1) OR (SELECT count(DISTINCT file_id) > 1 FROM load.trace_files) AS is_of_job
    FROM load.ranks
    GROUP BY process_key
),
part AS (
    SELECT c.group_id, c.number, p.phase, c.occurrence_id, c.process_key, c.device_id
    FROM attribute.collectives AS c JOIN attribute.phase_ranges AS p USING (occurrence_id)
    WHERE c.group_id IS NOT NULL
),
-- Each collective by its occurrence on the first rank that takes part.
whole AS (
    SELECT group_id, number, min((process_key, device_id)) AS first_rank, arg_min(occurrence_id, (process_key, device_id)) AS first_id
    FROM part
    GROUP BY group_id, number
    HAVING count(DISTINCT occurrence_id) > 1 AND count(DISTINCT phase) = 1
),
same AS (
    SELECT p.group_id, w.first_rank, w.first_id, min(p.occurrence_id) AS occurrence_id, p.process_key, p.device_id
    FROM part AS p JOIN whole AS w USING (group_id, number)
    GROUP BY p.group_id, w.first_rank, w.first_id, p.process_key, p.device_id
    -- Ranks that cut their work into ranges of their own do not have the same steps.
    HAVING min(p.occurrence_id) = max(p.occurrence_id)
),
hub AS (
    SELECT s.*
    FROM same AS s
    JOIN (SELECT group_id, first_rank, occurrence_id FROM same GROUP BY ALL HAVING count(DISTINCT first_id) = 1)
        USING (group_id, first_rank, occurrence_id)
),
linked AS (
    SELECT DISTINCT h.occurrence_id, format('{}:{}', h.group_id, h.first_id) AS step_name
    FROM hub AS h
    JOIN (SELECT group_id, first_id FROM hub GROUP BY group_id, first_id HAVING count(DISTINCT occurrence_id) > 1) USING (group_id, first_id)
),
-- Processes of which several threads are ranks.
crowded AS (
    SELECT DISTINCT process_key
    FROM (SELECT process_key FROM hub GROUP BY group_id, first_id, process_key HAVING count(DISTINCT occurrence_id) > 1)
),
placed AS (
    SELECT
        p.occurrence_id, p.phase, CASE WHEN c.process_key IS NULL THEN p.process_key ELSE p.global_tid END AS lane, p.start_ns,
        l.occurrence_id IS NOT NULL AS is_linked
    FROM attribute.phase_ranges AS p
    LEFT JOIN crowded AS c USING (process_key)
    LEFT JOIN (SELECT DISTINCT occurrence_id FROM linked) AS l ON l.occurrence_id = p.occurrence_id
    WHERE EXISTS (FROM linked)
),
counted AS (
    SELECT
        *, count(CASE WHEN is_linked THEN 1 END) OVER (
            PARTITION BY lane ORDER BY start_ns, occurrence_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS links
    FROM placed
),
between_links AS (
    SELECT
        occurrence_id, phase, lane, greatest(links, 1) AS link, links = 0 AS is_before,
        CASE WHEN links > 0 THEN count(*) OVER gap END AS passes,
        CASE
            WHEN links > 0 THEN row_number() OVER (PARTITION BY lane, links, phase ORDER BY start_ns, occurrence_id)
            ELSE row_number() OVER (PARTITION BY lane, links, phase ORDER BY start_ns DESC, occurrence_id DESC)
        END AS place
    FROM counted
    WHERE NOT is_linked
    WINDOW gap AS (PARTITION BY lane, links, phase)
),
pass AS (
    SELECT
        t.occurrence_id, p.phase, t.lane,
        row_number() OVER (PARTITION BY t.lane, p.phase ORDER BY t.start_ns, t.occurrence_id) AS number,
        count(*) OVER (PARTITION BY t.lane, p.phase) AS passes
    FROM attribute.training_passes AS t
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    SEMI JOIN (FROM rank WHERE is_of_job) AS r ON r.process_key = t.process_key
),
-- Where collectives tell that ranks begin or end elsewhere, numbers tell nothing.
odd AS (
    SELECT 1 AS one
    FROM linked AS l JOIN pass AS p USING (occurrence_id)
    GROUP BY l.step_name
    HAVING min(p.number) < max(p.number)
)
SELECT occurrence_id, step_name FROM linked
UNION ALL
SELECT b.occurrence_id, format('{}:{}:{}:{}:{}', l.step_name, b.phase, b.is_before, b.place, coalesce(b.passes, 0))
FROM between_links AS b
JOIN counted AS c ON c.lane = b.lane AND c.links = b.link AND c.is_linked
JOIN linked AS l ON l.occurrence_id = c.occurrence_id
UNION ALL
SELECT occurrence_id, format('{}:{}:{}', phase, number, passes) FROM pass WHERE NOT EXISTS (FROM odd)
