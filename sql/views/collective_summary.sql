-- Communication of each phase by collective: how much of its time is waiting for other ranks, how much moves data, and how much of
-- it no compute hides. Warm-up and cold occurrences are left out.
-- Grain: phase, kind, name, rank_count; phase is NULL outside every phase.
-- empty without: estimate.collective_totals
-- requires: estimate.collective_totals
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
--   link_ratio    DOUBLE  bus_bytes_per_s / the NVLink bandwidth of the GPU in one direction; NULL where
--                         that is not known, ranks are on several hosts, or the ratio is above 1: see the finding bus_above_links.
SELECT
    phase, kind, name, algorithm, protocol, dtype, rank_count, kernel_count, time_ns, wait_ns, transfer_ns, overlapped_ns, exposed_ns, exposed_ratio,
    message_bytes, bus_bytes_per_s,
    CASE WHEN bus_bytes_per_s <= link_bytes_per_s THEN bus_bytes_per_s / link_bytes_per_s END AS link_ratio
FROM estimate.collective_totals
