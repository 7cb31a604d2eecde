-- Bytes that a collective of NCCL must send over each rank's link: message size × the factor by which nccl-tests turns it into bus
-- bandwidth (performance.md there). NCCL states what a rank sends of an all-gather and what it receives of a reduce-scatter.
-- params: kind, bytes, ranks
-- returns: DOUBLE  NULL for a kind whose pattern of sending is not known. Unit: bytes.
SELECT CASE
    WHEN kind = 'all_reduce' THEN 2.0 * bytes * (ranks - 1) / ranks
    WHEN kind IN ('all_gather', 'reduce_scatter') THEN 1.0 * bytes * (ranks - 1)
    WHEN kind IN ('broadcast', 'reduce') AND ranks > 1 THEN 1.0 * bytes
END
