-- Samples of Python's stacks that nsys took (`--python-sampling=true`), in exports that hold payloads (`--include-blobs=true`).
-- The field `Frames` of a payload is a list of frames, which have a schema of their own.
-- Grain: sample_id.
-- materialize: table
-- empty without: nsys.NVTX_PAYLOADS
-- requires: load.payloads, nsys.NVTX_PAYLOAD_SCHEMAS, nsys.NVTX_PAYLOAD_SCHEMA_ENTRIES, macros.little_endian
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
    SELECT DISTINCT domainId AS domain_id, schemaId AS schema_id, name, type, coalesce("offset", 0) AS field_at
    FROM nsys.NVTX_PAYLOAD_SCHEMA_ENTRIES
),
frame AS (
    SELECT
        f.domain_id, f.schema_id, max(s.payloadSize) AS frame_bytes, max(f.field_at) FILTER (WHERE f.name = 'Function') AS function_at,
        max(f.field_at) FILTER (WHERE f.name = 'File') AS file_at, max(f.field_at) FILTER (WHERE f.name = 'Line') AS line_at
    FROM nsys.NVTX_PAYLOAD_SCHEMAS AS s JOIN field AS f ON f.domain_id = s.domainId AND f.schema_id = s.schemaId
    GROUP BY f.domain_id, f.schema_id
),
stack AS (
    SELECT c.domain_id, c.schema_id, c.field_at AS count_at, f.field_at AS frames_at, e.frame_bytes, e.function_at, e.file_at, e.line_at
    FROM field AS c
    JOIN field AS f ON f.domain_id = c.domain_id AND f.schema_id = c.schema_id AND f.name = 'Frames'
    JOIN frame AS e ON e.domain_id = f.domain_id AND e.schema_id = f.type
    WHERE c.name = 'Frames count' AND e.frame_bytes > 0
),
sample AS (
    SELECT
        p.event_id AS sample_id, p.global_tid, p.start_ns AS at_ns, p.string_base, p.digits, p.data_at,
        s.frames_at, s.frame_bytes, s.function_at, s.file_at, s.line_at,
        least(
            macros.little_endian(p.digits, p.data_at + s.count_at)::BIGINT,
            -- No more than the bytes that are there.
            (length(p.digits) // 2 - p.data_at - s.frames_at) // s.frame_bytes
        ) AS frame_count
    FROM load.payloads AS p JOIN stack AS s USING (domain_id, schema_id)
    WHERE p.event_type = 34
)
SELECT
    sample_id, global_tid, at_ns, frame_count, string_base,
    substr(digits, 2 * (data_at + frames_at) + 1, 2 * frame_count * frame_bytes) AS frames, frame_bytes, function_at, file_at,
    line_at
FROM sample
WHERE frame_count > 0
