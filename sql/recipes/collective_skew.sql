-- How long do GPUs wait for each other in collectives?
-- Collectives are matched across ranks (view collectives): whoever starts first waits for whoever starts last.
-- Warm-up, cold occurrences and cold training steps are left out, as in collective_summary.
-- params:
--   top=20  Collectives to show.
-- columns:
--   kind           VARCHAR  Collective.
--   name           VARCHAR  Communication kernel.
--   number         BIGINT   1 for the first one of the communicator.
--   rank_count     BIGINT   Ranks that ran it.
--   phase          VARCHAR  Phase of the first to start, or NULL.
--   first_start_ns BIGINT   When the first rank started it. Unit: ns.
--   last_device_id BIGINT   GPU that started it last.
--   skew_ns        BIGINT   From the first start to the last. Unit: ns.
--   shortest_ns    BIGINT   Shortest duration: what it takes when nobody has to wait. Unit: ns.
SELECT
    min(kind) AS kind, min(name) AS name, number, any_value(rank_count) AS rank_count,
    arg_min(phase, (start_ns, device_id)) AS phase, min(start_ns) AS first_start_ns, arg_max(device_id, (start_ns, device_id)) AS last_device_id,
    any_value(skew_ns) AS skew_ns, min(dur_ns) AS shortest_ns
FROM collectives
WHERE skew_ns IS NOT NULL AND is_measured
GROUP BY communicator_id, number
ORDER BY skew_ns DESC, first_start_ns, communicator_id, number
LIMIT $top
