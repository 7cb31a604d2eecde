-- What ranges of NCCL say about the message, in exports that hold payloads (`--include-blobs=true`).
-- Grain: range_id.
-- materialize: table
-- empty without: nsys.NVTX_PAYLOADS
-- requires: load.payloads, nsys.NVTX_PAYLOAD_SCHEMA_ENTRIES, macros.little_endian, macros.little_endian_8
-- columns:
--   range_id      BIGINT  The range. Joins load.nvtx_ranges.
--   message_bytes BIGINT  Message size: what a rank sends of an all-gather, receives of a reduce-scatter, holds of others. Unit: bytes.
--   communicator  VARCHAR The communicator: a hash that is the same on all of its ranks.
--   rank_count    BIGINT  Ranks of the communicator, NULL where its initialization is not in the trace.
WITH layout AS (
    SELECT
        domainId AS domain_id, schemaId AS schema_id,
        min(coalesce("offset", 0)) FILTER (WHERE name = 'NCCL communicator ID') AS communicator_at,
        min(coalesce("offset", 0)) FILTER (WHERE name = 'Message size [bytes]') AS size_at,
        min(coalesce("offset", 0)) FILTER (WHERE name = 'No. of ranks') AS ranks_at
    FROM nsys.NVTX_PAYLOAD_SCHEMA_ENTRIES
    GROUP BY domainId, schemaId
),
said AS (
    SELECT
        p.event_id AS range_id,
        -- A hash of the communicator, the same on all of its ranks: its upper and its lower half.
        macros.little_endian(p.digits, p.data_at + l.communicator_at + 4)
            || '.' || macros.little_endian(p.digits, p.data_at + l.communicator_at) AS communicator,
        macros.little_endian_8(p.digits, p.data_at + l.size_at) AS message_bytes,
        macros.little_endian(p.digits, p.data_at + l.ranks_at)::BIGINT AS rank_count
    FROM load.payloads AS p JOIN layout AS l USING (domain_id, schema_id)
    WHERE l.communicator_at IS NOT NULL
),
size AS (
    -- Ranks that disagree are no communicator that is known.
    SELECT communicator, CASE WHEN min(rank_count) = max(rank_count) THEN max(rank_count) END AS rank_count
    FROM said
    WHERE rank_count > 0
    GROUP BY communicator
)
SELECT s.range_id, s.message_bytes, s.communicator, z.rank_count
FROM said AS s LEFT JOIN size AS z USING (communicator)
-- No GPU holds 2^48 bytes.
WHERE s.message_bytes < 281474976710656
