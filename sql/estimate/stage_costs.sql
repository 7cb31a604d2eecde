-- What each stage of an occurrence must compute and move, with the stages inside it.
-- A part of the tower that no range marks belongs to the range of the tower; a projector without a range to no stage.
-- Grain: occurrence_id, stage.
-- materialize: table
-- empty without: attribute.stage_ranges
-- requires: attribute.stage_ranges, attribute.occurrences, input.occurrence_shapes, input.stage_costs, input.other_runs, estimate.doubtful_passes, estimate.other_models, macros.whole_sum
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   stage         VARCHAR  Part of the vision side.
--   flops         HUGEINT  Model FLOPs, NULL where they are not known. Unit: FLOP.
--   bytes         HUGEINT  Minimum bytes. Unit: bytes.
--   compute_ns    DOUBLE   Time at peak FLOP/s. Unit: ns.
--   memory_ns     DOUBLE   Time at peak bandwidth. Unit: ns.
--   sol_ns        DOUBLE   Speed of light. Unit: ns.
WITH RECURSIVE seen AS (
    SELECT DISTINCT r.occurrence_id, r.stage, around.stage AS parent
    FROM attribute.stage_ranges AS r LEFT JOIN attribute.stage_ranges AS around ON around.range_id = r.parent_id
    WHERE r.occurrence_id IS NOT NULL
),
part AS (
    SELECT o.occurrence_id, CASE WHEN own.stage IS NULL AND c.is_inside THEN 'tower' ELSE c.part END AS part, c.* EXCLUDE (part)
    FROM input.stage_costs AS c
    JOIN input.occurrence_shapes AS o USING (shape_id)
    JOIN attribute.occurrences AS p ON p.occurrence_id = o.occurrence_id
    ANTI JOIN estimate.doubtful_passes AS d ON d.phase = p.phase
    ANTI JOIN input.other_runs AS r ON r.process_key = p.process_key
    LEFT JOIN (SELECT DISTINCT occurrence_id, stage FROM seen) AS own
        ON own.occurrence_id = o.occurrence_id AND own.stage = c.part
    WHERE NOT EXISTS (FROM estimate.other_models)
),
-- Each part counts in its stage and in every stage around that one.
counted AS (
    SELECT occurrence_id, stage, stage AS part FROM seen
    UNION
    SELECT c.occurrence_id, s.parent, c.part
    FROM counted AS c JOIN seen AS s ON s.occurrence_id = c.occurrence_id AND s.stage = c.stage
    WHERE s.parent IS NOT NULL
)
SELECT
    c.occurrence_id, c.stage, sum(p.flops::HUGEINT) AS flops, sum(p.bytes::HUGEINT) AS bytes,
    macros.whole_sum(p.compute_ns) AS compute_ns,
    macros.whole_sum(p.memory_ns) AS memory_ns,
    macros.whole_sum(p.sol_ns) AS sol_ns
FROM (SELECT DISTINCT occurrence_id, stage, part FROM counted) AS c JOIN part AS p USING (occurrence_id, part)
GROUP BY c.occurrence_id, c.stage
