-- Type of the values that an NCCL kernel reduces, by its name, as NCCL writes it: 'bf16', 'f32', …; NULL where the name does not
-- say, as in collectives that only move bytes.
-- params: name
-- requires:
-- returns: VARCHAR  The type.
SELECT nullif(regexp_extract(name, '_(bf16|f16|f32|f64|f8e4m3|f8e5m2|i8|u8|i32|u32|i64|u64|half|float|double|__nv_bfloat16|u?int\d+_t)(?:_|$)', 1), '')
