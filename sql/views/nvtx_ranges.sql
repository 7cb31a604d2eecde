-- One row per NVTX range, with the range around it and the phase it is part of.
-- Grain: range_id.
-- requires: load.nvtx_ranges, attribute._range_places, attribute.phase_ranges
-- columns:
--   range_id      BIGINT   The range. Joins gpu_work and api_calls; phases on occurrence_id.
--   name          VARCHAR  Its text, '' where it has none.
--   domain        VARCHAR  Name of its domain, '' for the default domain.
--   kind          VARCHAR  'push_pop' or 'start_end'.
--   process_id    BIGINT   Operating-system pid. Joins processes.
--   thread_id     BIGINT   Operating-system tid of the thread that opened it. Joins threads.
--   start_ns      BIGINT   When it was opened. Unit: ns.
--   end_ns        BIGINT   When it was closed, or the end of the recording. Unit: ns.
--   dur_ns        BIGINT   end_ns - start_ns. Unit: ns.
--   is_closed     BOOLEAN  False where it was still open when the recording ended.
--   parent_id     BIGINT   Push/pop range around it in its thread and domain, NULL for an outermost one.
--   depth         BIGINT   Ranges around it in its thread and domain; NULL for start/end ranges.
--   phase         VARCHAR  Innermost phase of its thread that is open when it starts: its own where it is one itself.
--   occurrence_id BIGINT   The occurrence. Joins phases.
SELECT
    r.range_id, r.name, r.domain, r.kind, r.process_key & 16777215 AS process_id, r.global_tid & 16777215 AS thread_id,
    r.start_ns, r.end_ns, r.end_ns - r.start_ns AS dur_ns, r.is_closed, place.parent_id, place.depth,
    coalesce(own.phase, around.phase) AS phase, coalesce(own.occurrence_id, around.occurrence_id) AS occurrence_id
FROM load.nvtx_ranges AS r
JOIN attribute._range_places AS place ON place.range_id = r.range_id
LEFT JOIN attribute.phase_ranges AS own ON own.occurrence_id = r.range_id
LEFT JOIN attribute.phase_ranges AS around ON around.occurrence_id = place.occurrence_id
