-- What ranges of NCCL say about the message, in exports that hold payloads (`--include-blobs=true`).
-- Payloads are read by the schema that the export describes: a header of 32 bytes, whose last eight are the offset of the data,
-- then the fields at their offsets.
-- Grain: range_id.
-- materialize: table
-- empty without: nsys.NVTX_PAYLOADS
-- requires: nsys.NVTX_PAYLOADS, nsys.NVTX_PAYLOAD_SCHEMA_ENTRIES, macros.little_endian, macros.little_endian_8
-- columns:
--   range_id      BIGINT  The range. Joins load.nvtx_ranges.
--   communicator  VARCHAR Hash of the communicator, the same on all of its ranks: its upper and its lower half.
--   message_bytes BIGINT  Message size: what a rank sends of an all-gather, receives of a reduce-scatter, holds of others. Unit: bytes.
--   rank_count    BIGINT  Ranks of the communicator, NULL where its initialization is not in the trace.
WITH field AS (
    SELECT domainId, schemaId, name, min(coalesce("offset", 0)) AS field_at
    FROM nsys.NVTX_PAYLOAD_SCHEMA_ENTRIES
    WHERE name IN ('NCCL communicator ID', 'Message size [bytes]', 'No. of ranks')
    GROUP BY domainId, schemaId, name
),
layout AS (
    SELECT
        domainId, schemaId, max(field_at) FILTER (WHERE name = 'NCCL communicator ID') AS communicator_at,
        max(field_at) FILTER (WHERE name = 'Message size [bytes]') AS size_at,
        max(field_at) FILTER (WHERE name = 'No. of ranks') AS ranks_at
    FROM field
    GROUP BY domainId, schemaId
),
payload AS (
    SELECT
        row_id AS range_id, domainId, binaryData AS digits, macros.little_endian_8(binaryData, 8) AS schemaId,
        macros.little_endian(binaryData, 24)::BIGINT AS data_at
    FROM nsys.NVTX_PAYLOADS
    WHERE domainId IN (FROM (SELECT domainId FROM layout WHERE communicator_at IS NOT NULL))
),
said AS (
    SELECT
        p.range_id, macros.little_endian(p.digits, p.data_at + l.communicator_at + 4)
            || '.' || macros.little_endian(p.digits, p.data_at + l.communicator_at) AS communicator,
        macros.little_endian_8(p.digits, p.data_at + l.size_at) AS message_bytes,
        macros.little_endian(p.digits, p.data_at + l.ranks_at)::BIGINT AS rank_count
    FROM payload AS p JOIN layout AS l USING (domainId, schemaId)
    WHERE l.communicator_at IS NOT NULL
),
size AS (
    -- Ranks that disagree are no communicator that is known.
    SELECT communicator, CASE WHEN min(rank_count) = max(rank_count) THEN max(rank_count) END AS rank_count
    FROM said
    WHERE rank_count > 0
    GROUP BY communicator
)
SELECT s.range_id, s.communicator, s.message_bytes, z.rank_count
FROM said AS s LEFT JOIN size AS z USING (communicator)
-- No GPU holds 2^48 bytes.
WHERE s.message_bytes < 281474976710656
