-- Number format of the operands of a kernel that multiplies matrices, by its names: 'fp4', 'fp8', 'int8', '16-bit', 'tf32', 'fp32';
-- NULL where no name says it, and for kernels that unpack weights as they multiply.
-- Names of cuBLAS, cuBLASLt (`nvjet`: a letter for each of A, accumulator and C), cuDNN, CUTLASS and templates.
-- params: name, full_name
-- requires:
-- returns: VARCHAR  The format. bf16 and fp16 have the same peak, and not every name tells them apart.
SELECT list_transform(
    [coalesce(name, '') || ' ' || coalesce(full_name, '')],
    lambda known: CASE
        WHEN regexp_matches(known, '(?i)marlin|machete|awq|gptq|exllama|dequant|w\da\d|wna16|fpa_intb|kgemm_4bit|qserve|mixed_?input') THEN NULL
        WHEN regexp_matches(known, '(?i)e2m1|nvfp4|mxf4|mxfp4') THEN 'fp4'
        WHEN regexp_matches(known, '(?i)e4m3|e5m2|fp8|_qq[a-z]{2,3}_') THEN 'fp8'
        WHEN regexp_matches(known, '(?i)i8i8_|gemm_s8|int8|igemm|imma|i16832gemm|i8816gemm') THEN 'int8'
        WHEN regexp_matches(known, '(?i)tf32|(?:^|[^a-z])s1688gemm(?:_\d|_f32)') THEN 'tf32'
        WHEN regexp_matches(known, '(?i)bf16|fp16|f16f16|bfloat16|half|hgemm|h\d+gemm|h884|nvjet_(?:sm\d+_)?(?:tst|tss|ttt|hsh|hss|hhh)_')
            THEN '16-bit'
        WHEN regexp_matches(known, '(?i)sgemm|f32f32_f32f32|<(?:int, int, )?float, |ffma') THEN 'fp32'
    END
)[1]
