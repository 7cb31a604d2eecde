-- Kernels of each phase, those that take most of its time first.
-- CUTLASS calls all its GEMMs `Kernel2`; they go by the name in the brackets.
-- Grain: phase, name, family; phase is NULL for kernels outside every phase.
-- requires: views.kernel_summary
-- columns:
--   phase          VARCHAR  Name of the phase, or NULL.
--   rank           BIGINT   1, 2, 3, … in the phase, by time without warm-up and cold occurrences.
--   name           VARCHAR  Short kernel name.
--   family         VARCHAR  What kind of work it is.
--   count          BIGINT   Kernels, warm-up included.
--   time_ns        BIGINT   Sum of their durations. Unit: ns.
--   warmup_count   BIGINT   Of these, those in warm-up.
--   warmup_time_ns BIGINT   Of this, the time in warm-up. Unit: ns.
--   cold_count     BIGINT   Those in cold occurrences that are left out.
--   cold_time_ns   BIGINT   The time in them. Unit: ns.
--   share          DOUBLE   Share of the phase's kernel time, warm-up and cold ones left out; NULL if there is nothing else.
WITH named AS (
    SELECT
        phase, family, "count", time_ns, warmup_count, warmup_ns, cold_count, cold_ns,
        CASE
            WHEN name IN ('Kernel', 'Kernel2')
                THEN coalesce(nullif(regexp_extract(full_name, 'Kernel2?<\w+>'), ''), name)
            ELSE name
        END AS name
    FROM views.kernel_summary
)
SELECT
    phase,
    row_number() OVER (
        PARTITION BY phase ORDER BY sum(time_ns - warmup_ns - cold_ns) DESC, sum(time_ns) DESC, name, family
    ) AS rank,
    name, family, sum("count")::BIGINT AS "count", sum(time_ns)::BIGINT AS time_ns,
    sum(warmup_count)::BIGINT AS warmup_count, sum(warmup_ns)::BIGINT AS warmup_time_ns,
    sum(cold_count)::BIGINT AS cold_count, sum(cold_ns)::BIGINT AS cold_time_ns,
    (sum(time_ns - warmup_ns - cold_ns) / nullif(sum(sum(time_ns - warmup_ns - cold_ns)) OVER (PARTITION BY phase), 0))::DOUBLE AS share
FROM named
GROUP BY phase, name, family
