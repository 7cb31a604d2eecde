-- What every ns of the measured time of a GPU was spent on: one cause for each, so that they add up to the GPU's window.
-- The window holds measured requests, and measured phases in no request, each until the last work launched in it has ended;
-- in a trace without either, everything from the first launch to the end of the last operation. Warm-up and cold time is not in it.
-- Grain: device_id, phase, class; classes without time are absent.
-- requires: attribute.occurrence_times, attribute.occurrences
-- columns:
--   device_id BIGINT   GPU. Joins devices.
--   phase     VARCHAR  The phase of the running operation that started first or, while the GPU is idle, of the operation that
--                      ends the gap. NULL outside every phase.
--   class     VARCHAR  While the GPU runs something: 'compute' (a kernel that does not communicate, or a whole graph), else
--                      'wait' or 'transfer' (communication; wait: another rank has not started it), else 'copy'. While it is
--                      idle, by the thread that launched the operation at the end: 'launch' (inside a launching call),
--                      'latency' (the call has returned), 'sync' (inside a call that synchronizes), 'api' (inside another
--                      CUDA call), 'host' (outside every CUDA call).
--   time_ns   BIGINT   Unit: ns.
--   median_ns BIGINT   Median of one occurrence, over those with any time on this GPU; NULL outside every phase. Unit: ns.
WITH total AS (
    SELECT t.device_id, p.phase, t.class, sum(t.time_ns)::BIGINT AS time_ns
    FROM attribute.occurrence_times AS t LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    GROUP BY t.device_id, p.phase, t.class
),
seen AS (
    SELECT DISTINCT t.device_id, p.phase, t.occurrence_id
    FROM attribute.occurrence_times AS t JOIN attribute.occurrences AS p USING (occurrence_id)
),
middle AS (
    SELECT s.device_id, s.phase, c.class, median(coalesce(t.time_ns, 0))::BIGINT AS median_ns
    FROM seen AS s
    JOIN total AS c ON c.device_id = s.device_id AND c.phase = s.phase
    LEFT JOIN attribute.occurrence_times AS t
        ON t.device_id = s.device_id AND t.occurrence_id = s.occurrence_id AND t.class = c.class
    GROUP BY s.device_id, s.phase, c.class
)
SELECT t.device_id, t.phase, t.class, t.time_ns, m.median_ns
FROM total AS t LEFT JOIN middle AS m USING (device_id, phase, class)
