-- Communication of a job of several ranks in which a kernel's partners on other ranks are not known: sends and receives in pairs, or
-- collectives that a rank lacks, for its recording is shorter. The budget counts it as communication, waiting included.
-- A twentieth of the phase's time.
-- Grain: phase.
-- severity: info
-- message: in {place} {kernels:,} kernels of communication have no known partner on another rank: {alone_ns:ms} with no compute beside them
--   count as communication, and how much of that is waiting is not known
-- hint: exports with payloads (`nsys export --include-blobs=true`) name the communicator of each collective; NCCL's sends and receives
--   are matched where all ranks run as many at the same time
-- empty without: attribute.lone_collectives
-- requires: attribute.lone_collectives, attribute.phase_spending, attribute.collectives
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  NULL: what is not known cannot be saved. Unit: ns.
--   place       VARCHAR The phase in a sentence.
--   kernels     BIGINT  Kernels without a partner.
--   alone_ns    BIGINT  Their time with no compute beside it, at most that of the class `transfer`. Unit: ns.
SELECT
    s.phase, NULL::BIGINT AS at_stake_ns, s.place, l.kernel_count AS kernels, least(l.alone_ns + l.cut_ns, s.transfer_ns)::BIGINT AS alone_ns
FROM attribute.lone_collectives AS l
JOIN attribute.phase_spending AS s ON s.phase IS NOT DISTINCT FROM l.phase
WHERE (SELECT count(DISTINCT (process_key, device_id)) FROM attribute.collectives) > 1
    AND least(l.alone_ns + l.cut_ns, s.transfer_ns) >= greatest(s.phase_ns / 20, s.least_ns)
