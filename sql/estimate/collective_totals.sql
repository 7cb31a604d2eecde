-- Communication of each phase by collective, with what its links could carry. Warm-up and cold occurrences are left out.
-- Grain: phase, kind, name, rank_count; phase is NULL outside every phase.
-- materialize: table
-- empty without: attribute.collectives
-- requires: attribute.collectives, attribute.communication_overlap, attribute.occurrences, load.ranks, input.peaks, macros.whole_sum
-- columns:
--   phase         VARCHAR Name of the phase.
--   kind          VARCHAR 'all_reduce', 'all_gather', …: see collectives.
--   name          VARCHAR Short kernel name.
--   algorithm     VARCHAR Of an NCCL kernel, if its name tells: 'tree', 'nvls', 'ring' before NCCL 2.19, …
--   protocol      VARCHAR The same: 'll128', 'simple'. 'LL' in a name tells nothing: all protocols run in such kernels.
--   dtype         VARCHAR Type that is reduced, as NCCL writes it; NULL where bytes are moved or the name does not say.
--   rank_count    BIGINT  Ranks of the communicator in the trace, NULL where no other rank is.
--   kernel_count  BIGINT  Kernels, over all ranks.
--   time_ns       BIGINT  Sum of their durations. Unit: ns.
--   wait_ns       BIGINT  Of it until the last rank had come, NULL where no other rank is in the trace; without kernels of
--                         which a rank of the communicator lacks its own. Unit: ns.
--   transfer_ns   BIGINT  The rest of their time, NULL likewise. Unit: ns.
--   overlapped_ns BIGINT  Of time_ns with compute beside it. Unit: ns.
--   exposed_ns    BIGINT  Of time_ns with none. Unit: ns.
--   exposed_ratio DOUBLE  exposed_ns / time_ns.
--   message_bytes BIGINT  Sizes of the messages as NCCL states them, added up over kernels; NULL unless each one's is known. Unit: bytes.
--   bus_bytes_per_s DOUBLE Bus bandwidth as nccl-tests defines it: what each rank's link must carry, over transfer_ns. Unit: bytes/s.
--   link_bytes_per_s DOUBLE NVLink bandwidth of the GPU in one direction; NULL where that is not known or ranks are on several hosts. Unit: bytes/s.
WITH link AS (
    SELECT device_id, any_value(link_bytes_per_s) AS link_bytes_per_s FROM input.peaks GROUP BY device_id
)
SELECT
    p.phase, c.kind, c.name,
    -- Since NCCL 2.19 (`ncclDevKernel_`) all but trees run in kernels that are called RING.
    CASE WHEN NOT regexp_matches(c.name, '^ncclDevKernel_.*_RING') THEN lower(nullif(regexp_extract(
        c.name, '_(RING|TREE|NVLS_TREE|NVLS|COLLNET_DIRECT|COLLNET_CHAIN|PAT)(?:_|$)', 1
    ), '')) END AS algorithm,
    -- NCCL compiles kernels for LL alone, and runs the other protocols in them.
    lower(nullif(regexp_extract(c.name, '_(LL128|SIMPLE)(?:_|$)', 1), '')) AS protocol,
    nullif(
        regexp_extract(c.name, '_(bf16|f16|f32|f64|f8e4m3|f8e5m2|i8|u8|i32|u32|i64|u64|half|float|double|__nv_bfloat16|u?int\d+_t)(?:_|$)', 1), ''
    ) AS dtype,
    c.rank_count, count(*) AS kernel_count,
    sum(c.end_ns - c.start_ns)::BIGINT AS time_ns, sum(c.wait_ns)::BIGINT AS wait_ns,
    sum(c.transfer_ns)::BIGINT AS transfer_ns, sum(o.overlapped_ns)::BIGINT AS overlapped_ns,
    sum(o.exposed_ns)::BIGINT AS exposed_ns, sum(o.exposed_ns) / nullif(sum(c.end_ns - c.start_ns), 0) AS exposed_ratio,
    macros.whole_sum(c.message_bytes)::BIGINT AS message_bytes,
    CASE WHEN count(c.bus_bytes) = count(c.transfer_ns) THEN sum(c.bus_bytes) * 1e9 / nullif(sum(c.transfer_ns), 0) END AS bus_bytes_per_s,
    CASE WHEN (SELECT max(host_id) FROM load.ranks) = 0 THEN min(k.link_bytes_per_s) END AS link_bytes_per_s
FROM attribute.collectives AS c
JOIN attribute.communication_overlap AS o USING (op_id)
LEFT JOIN attribute.occurrences AS p ON p.occurrence_id = c.occurrence_id
LEFT JOIN link AS k USING (device_id)
WHERE coalesce(p.is_measured, true)
GROUP BY p.phase, c.kind, c.name, c.rank_count
