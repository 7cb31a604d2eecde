-- Frames of Python's stacks.
-- Grain: sample_id, depth.
-- empty without: load.python_samples
-- requires: load.python_samples, load.strings, macros.little_endian
-- columns:
--   sample_id BIGINT  Joins load.python_samples.
--   depth     BIGINT  0 for the function that ran, 1 for its caller, …
--   function  VARCHAR Its name.
--   file      VARCHAR Its file.
--   line      BIGINT  The line that ran.
WITH frame AS (
    SELECT
        sample_id, string_base, unnest(range(frame_count)) AS depth, frames, frame_bytes, function_at, file_at, line_at
    FROM load.python_samples
),
numbered AS (
    SELECT
        sample_id, depth, macros.little_endian(frames, depth * frame_bytes + function_at) + string_base AS function_id,
        macros.little_endian(frames, depth * frame_bytes + file_at) + string_base AS file_id,
        macros.little_endian(frames, depth * frame_bytes + line_at)::BIGINT AS line
    FROM frame
)
SELECT
    n.sample_id, n.depth,
    -- nsys escapes `<module>` for its own pages.
    replace(replace(replace(f.value, '&lt;', '<'), '&gt;', '>'), '&amp;', '&') AS "function",
    replace(replace(replace(p.value, '&lt;', '<'), '&gt;', '>'), '&amp;', '&') AS file, n.line
FROM numbered AS n
LEFT JOIN load.strings AS f ON f.string_id = n.function_id
LEFT JOIN load.strings AS p ON p.string_id = n.file_id
