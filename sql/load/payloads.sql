-- What NVTX events say beside their text, in exports that hold payloads (`--include-blobs=true`).
-- A payload begins with a header of 32 bytes: how many there are, the schema of the data, their length, and their offset, eight
-- bytes each. The fields are in the data, at the offsets that the schema describes.
-- Grain: event_id.
-- empty without: nsys.NVTX_PAYLOADS
-- requires: nsys.NVTX_PAYLOADS, macros.little_endian, macros.little_endian_8
-- columns:
--   event_id    BIGINT  Row of the export; of a range its range_id.
--   event_type  BIGINT  What kind of event it is, in nsys' numbers.
--   global_tid  BIGINT  The event's thread. Joins load.threads.
--   start_ns    BIGINT  When. Unit: ns.
--   domain_id   BIGINT  Domain of the event, and of the schema.
--   schema_id   BIGINT  Schema of the data within the domain.
--   string_base BIGINT  What to add to ids of names in the data.
--   digits      VARCHAR All bytes of it, two hexadecimal digits each.
--   data_at     BIGINT  Where the data begin. Unit: bytes.
SELECT
    row_id AS event_id, eventType AS event_type, globalTid AS global_tid, "start" AS start_ns, domainId AS domain_id,
    macros.little_endian_8(binaryData, 8) AS schema_id, coalesce(stringBase, 0) AS string_base, binaryData AS digits,
    macros.little_endian(binaryData, 24)::BIGINT AS data_at
FROM nsys.NVTX_PAYLOADS
