-- Occurrences outside warm-up that are several times slower than steady ones of their process: memory is being allocated,
-- modules are being loaded, code compiled, graphs recorded, algorithms chosen.
-- Compared are occurrences of one phase, process and kind of shape (batch and new tokens). One is *faster* if three times its
-- time is less than the other's; where context or tokens are not known, or the other set something up, the GPU's work must
-- not explain it: the time must have grown three times more than the busy time did, without communication, in which GPUs wait
-- for ranks whose recording, or whose first step, starts later. Cold are
-- - `leading`: the first ones of a kind (up to 32), as long as nine tenths of those after each, of at least as much context,
--   are faster; if shapes are known, also if they have three times less GPU busy time without communication, in which
--   GPUs wait for other ranks. The same holds for the first ones of a phase, compared with all later ones of at least as many
--   sequences, new tokens and context;
-- - `first_length`: the first of a shape with its context (where that is not known, of a place in a request), if nine tenths of the later ones of it are faster, and so are nine
--   tenths of all of the kind that repeat a context: steps that are slow now and then are not cold;
-- - `setup`: those that record or instantiate a graph, load a module, or allocate or free memory, if nine tenths of the others
--   of the kind, without such calls and not cold, are faster, and if no more than a tenth of the kind, or a single one, is so.
--   Of more than 64 of a kind the 64 slowest are judged;
-- - `recording`: those that record a graph, of which the GPU does nothing, if it does something of another of the kind. They are no
--   passes that ran, and no other is compared with them.
-- Grain: occurrence_id.
-- materialize: table
-- empty without: attribute._occurrence_sizes WHERE phase_place > 1
-- requires: attribute._occurrence_sizes, attribute.phase_ranges, input.step_sizes
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   phase         VARCHAR  Name of the phase.
--   shape         VARCHAR  Its kind of shape, NULL where it is not known.
--   reason        VARCHAR  'recording', 'leading', 'first_length' or 'setup': the first that applies.
WITH sized AS (
    SELECT
        *, is_recording AND max(busy_ns) OVER (PARTITION BY group_id) > 0 AS is_recorded,
        coalesce(nullif(own_ns, 0), busy_ns) AS work_ns
    FROM attribute._occurrence_sizes
),
step AS (
    SELECT *, count(*) OVER (PARTITION BY group_id) AS group_count FROM sized WHERE NOT is_recorded
),
line AS (
    SELECT 'kind' AS level, group_id AS line_id, place AS line_place, * FROM step
    UNION ALL
    SELECT 'phase', phase_id, phase_place, * FROM step WHERE is_sized
),
later AS (
    SELECT
        i.level, i.line_id, i.occurrence_id,
        i.time_ns > 3 * j.time_ns
            AND (i.is_sized OR i.work_ns = 0 OR i.time_ns::DOUBLE * j.work_ns > 3.0 * j.time_ns * i.work_ns) AS is_faster,
        i.is_sized AND j.own_ns > 0 AND i.own_ns > 3 * j.own_ns AS is_less_busy
    FROM line AS i
    JOIN line AS j
        ON j.level = i.level AND j.line_id = i.line_id AND j.line_place > i.line_place
        AND (
            NOT i.is_sized OR NOT j.is_sized
            OR (j.batch >= i.batch AND j.new_tokens >= i.new_tokens AND j.cached_tokens >= i.cached_tokens)
        )
    WHERE i.line_place <= 32
),
slow AS (
    SELECT level, occurrence_id
    FROM later
    GROUP BY level, occurrence_id
    HAVING 10 * count_if(is_faster) >= 9 * count(*) OR 10 * count_if(is_less_busy) >= 9 * count(*)
),
lead_in AS (
    SELECT DISTINCT i.occurrence_id
    FROM line AS i
    JOIN (
        SELECT s.level, s.line_id, min(s.line_place) AS line_place
        FROM line AS s ANTI JOIN slow USING (level, occurrence_id)
        GROUP BY s.level, s.line_id
    ) AS steady ON steady.level = i.level AND steady.line_id = i.line_id AND i.line_place < steady.line_place
),
repeated AS (
    SELECT group_id, quantile_disc(time_ns, 0.9) AS time_ns
    FROM step
    WHERE label_place > 1 AND label IS NOT NULL
    GROUP BY group_id
),
first_length AS (
    SELECT i.occurrence_id
    FROM step AS i
    JOIN step AS j ON j.group_id = i.group_id AND j.label = i.label AND j.label_place > 1
    JOIN repeated AS r ON r.group_id = i.group_id
    WHERE i.label_place = 1
    GROUP BY i.occurrence_id, i.time_ns, r.time_ns
    HAVING 10 * count_if(
        i.time_ns > 3 * j.time_ns
        AND (i.is_sized OR i.work_ns = 0 OR i.time_ns::DOUBLE * j.work_ns > 3.0 * j.time_ns * i.work_ns)
    ) >= 9 * count(*) AND i.time_ns > 3 * r.time_ns
),
steady AS (
    SELECT s.*
    FROM step AS s
    ANTI JOIN lead_in ON lead_in.occurrence_id = s.occurrence_id
    ANTI JOIN first_length AS f ON f.occurrence_id = s.occurrence_id
),
setting_up AS (
    SELECT *
    FROM steady
    WHERE has_setup
    -- Each is compared with all others of its kind, so not all of very many. Equal ones are taken in the order of their steps.
    QUALIFY count(*) OVER (PARTITION BY group_id) <= 64
        OR row_number() OVER (PARTITION BY group_id ORDER BY time_ns DESC, place) <= 64
),
slow_setup AS (
    SELECT i.occurrence_id, i.group_id, i.group_count
    FROM setting_up AS i JOIN steady AS j ON j.group_id = i.group_id AND NOT j.has_setup
    GROUP BY i.occurrence_id, i.group_id, i.group_count
    HAVING 10 * count_if(
        i.time_ns > 3 * j.time_ns
        AND (i.work_ns = 0 OR i.time_ns::DOUBLE * j.work_ns > 3.0 * j.time_ns * i.work_ns)
    ) >= 9 * count(*)
),
judged AS (
    SELECT occurrence_id, 'leading' AS reason FROM lead_in
    UNION ALL
    SELECT f.occurrence_id, 'first_length' FROM first_length AS f ANTI JOIN lead_in USING (occurrence_id)
    UNION ALL
    SELECT occurrence_id, 'setup'
    FROM slow_setup
    QUALIFY count(*) OVER (PARTITION BY group_id) <= greatest(1, group_count // 10)
),
found AS (
    SELECT occurrence_id, reason FROM judged
    UNION ALL
    SELECT occurrence_id, 'recording' FROM sized WHERE is_recorded
)
SELECT f.occurrence_id, p.phase, z.kind AS shape, f.reason
FROM found AS f
JOIN attribute.phase_ranges AS p USING (occurrence_id)
LEFT JOIN input.step_sizes AS z USING (occurrence_id)
