-- Samples of Python's stacks that nsys took (`--python-sampling=true`), in exports that hold payloads (`--include-blobs=true`).
-- Payloads are read by the schema that the export describes: a header of 32 bytes, whose last eight are the offset of the data,
-- then the fields at their offsets, of which `Frames` is a list of frames.
-- Grain: sample_id.
-- materialize: table
-- empty without: nsys.NVTX_PAYLOADS
-- requires: nsys.NVTX_PAYLOADS, nsys.NVTX_PAYLOAD_SCHEMAS, nsys.NVTX_PAYLOAD_SCHEMA_ENTRIES, macros.little_endian, macros.little_endian_8
-- columns:
--   sample_id    BIGINT    Row of the export.
--   global_tid   BIGINT    The sampled thread. Joins load.threads.
--   at_ns        BIGINT    When. Unit: ns.
--   frame_count  BIGINT    Frames of the stack.
--   string_base  BIGINT    What to add to ids of names in it.
--   frames       VARCHAR   Its frames, `frame_bytes` each, two hexadecimal digits for a byte.
--   frame_bytes  BIGINT    Size of a frame. Unit: bytes.
--   function_at  BIGINT    Offset of the function in a frame. Unit: bytes.
--   file_at      BIGINT    Offset of the file. Unit: bytes.
--   line_at      BIGINT    Offset of the line. Unit: bytes.
WITH field AS (
    -- Each file of a job has the schema.
    SELECT DISTINCT domainId, schemaId, name, type, coalesce("offset", 0) AS field_at FROM nsys.NVTX_PAYLOAD_SCHEMA_ENTRIES
),
frame AS (
    SELECT
        s.domainId, s.schemaId, max(s.payloadSize) AS frame_bytes, max(f.field_at) FILTER (WHERE f.name = 'Function') AS function_at,
        max(f.field_at) FILTER (WHERE f.name = 'File') AS file_at, max(f.field_at) FILTER (WHERE f.name = 'Line') AS line_at
    FROM nsys.NVTX_PAYLOAD_SCHEMAS AS s JOIN field AS f USING (domainId, schemaId)
    GROUP BY s.domainId, s.schemaId
),
stack AS (
    SELECT c.domainId, c.schemaId, c.field_at AS count_at, f.field_at AS frames_at, e.frame_bytes, e.function_at, e.file_at, e.line_at
    FROM field AS c
    JOIN field AS f ON f.domainId = c.domainId AND f.schemaId = c.schemaId AND f.name = 'Frames'
    JOIN frame AS e ON e.domainId = f.domainId AND e.schemaId = f.type
    WHERE c.name = 'Frames count' AND e.frame_bytes > 0
),
payload AS (
    SELECT
        p.row_id AS sample_id, p.globalTid AS global_tid, p."start" AS at_ns, p.domainId, p.binaryData AS digits,
        coalesce(p.stringBase, 0) AS string_base,
        macros.little_endian_8(p.binaryData, 8) AS schemaId,
        macros.little_endian(p.binaryData, 24)::BIGINT AS data_at
    FROM nsys.NVTX_PAYLOADS AS p
    WHERE p.eventType = 34 AND p.domainId IN (FROM (SELECT domainId FROM stack))
),
sample AS (
    SELECT
        p.*, s.frames_at, s.frame_bytes, s.function_at, s.file_at, s.line_at,
        least(
            macros.little_endian(p.digits, p.data_at + s.count_at)::BIGINT,
            -- No more than the bytes that are there.
            (length(p.digits) // 2 - p.data_at - s.frames_at) // s.frame_bytes
        ) AS frame_count
    FROM payload AS p JOIN stack AS s USING (domainId, schemaId)
)
SELECT
    sample_id, global_tid, at_ns, frame_count, string_base,
    substr(digits, 2 * (data_at + frames_at) + 1, 2 * frame_count * frame_bytes) AS frames, frame_bytes, function_at, file_at,
    line_at
FROM sample
WHERE frame_count > 0
