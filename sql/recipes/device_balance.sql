-- Do the GPUs share the work evenly?
-- Warm-up and cold occurrences count, so that kernels add up to those of the trace; rank_summary leaves them out.
-- columns:
--   phase          VARCHAR  Name of the phase, or NULL.
--   device_id      BIGINT   GPU.
--   kernel_count   BIGINT   Kernels.
--   kernel_time_ns BIGINT   Sum of their durations. Unit: ns.
--   compute_ns     BIGINT   Of it, not communication. Unit: ns.
--   behind_ratio   DOUBLE   compute_ns / the largest compute_ns of the phase's GPUs.
SELECT
    phase, device_id, count(*) AS kernel_count, sum(dur_ns)::BIGINT AS kernel_time_ns,
    coalesce(sum(dur_ns) FILTER (WHERE family <> 'communication'), 0)::BIGINT AS compute_ns,
    (coalesce(sum(dur_ns) FILTER (WHERE family <> 'communication'), 0)
        / nullif(max(coalesce(sum(dur_ns) FILTER (WHERE family <> 'communication'), 0)) OVER (PARTITION BY phase), 0)
    )::DOUBLE AS behind_ratio
FROM gpu_work
WHERE kind = 'kernel'
GROUP BY phase, device_id
ORDER BY phase NULLS LAST, device_id
