-- Phases whose KV cache is of another number format than the one in which its bytes are counted: the server's `--kv-cache-dtype` is in no config.
-- Names tell it of vLLM's kernels that write or read the cache (0: the activations' format, else fp8), of TensorRT-LLM's attention, of
-- llama.cpp's attention of few queries, by the numbers that ggml gives its types, and of
-- FlashInfer's over pages: its prefill names the format after that of the queries; its decode loads vectors of 16 bytes, or a 32nd of the
-- head if that is more, so that 16 elements in heads of up to 256 are of one byte each, and 8 of two. FlashAttention 3 in fp8 reads keys in
-- fp8, which in a decode come from the cache. Names of Triton's kernels tell nothing.
-- Grain: phase; absent if names of both formats ran in it, as with layers that are left out.
-- severity: error
-- message: the names of the kernels say that the KV cache of {phase} is {kernel_dtype}, but its bytes are counted in {dtype}: bytes and MBU are wrong
-- hint: pass --kv-dtype with the format of the cache
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.pass_ops
-- requires: attribute.phase_kernels, estimate.phase_costs, input.pass_ops
-- columns:
--   phase        VARCHAR The phase.
--   at_stake_ns  BIGINT  Its GPU busy time. Unit: ns.
--   dtype        VARCHAR The format in which the bytes of the cache are counted.
--   kernel_dtype VARCHAR That of the kernels: 'fp8', '16-bit', or a type of ggml.
WITH told AS (
    SELECT
        phase,
        CASE
            -- The keys of an index that chooses tokens are in fp8 beside any cache; packed latents have parts in both.
            WHEN regexp_matches(full_name, 'indexer|ds_mla') THEN NULL
            WHEN regexp_matches(
                full_name, 'BatchPrefillWithPagedKVCacheKernel<.*PosEncodingMode\)\d+, \w+, __nv_fp8_e[45]m[23]'
                    || '|BatchDecodeWithPagedKVCacheKernel<[^,]*PosEncodingMode\)\d+, [^,]*, [^,]*, (\(unsigned int\))?16u?, (\(unsigned int\))?([48]|16)u?,'
            ) THEN 'fp8'
            WHEN phase = 'decode' AND regexp_matches(full_name, 'CollectiveMainloopFwdSm90<.*, cutlass::float_e4m3_t, float, cutlass::arch') THEN 'fp8'
            WHEN regexp_matches(
                full_name, 'BatchPrefillWithPagedKVCacheKernel<.*PosEncodingMode\)\d+, \w+, (__nv_bfloat16|__half|half)\b'
                    || '|BatchDecodeWithPagedKVCacheKernel<[^,]*PosEncodingMode\)\d+, [^,]*, [^,]*, (\(unsigned int\))?8u?,'
            ) THEN '16-bit'
            WHEN regexp_matches(full_name, 'Fp8KVCacheDataType\)[12]|_Q(Bfloat16|Fp16|E4m3)KvE[45]m[23]') THEN 'fp8'
            WHEN regexp_matches(full_name, '(?i:bfloat16|half|uint16_t).*Fp8KVCacheDataType\)0|_Q(Bfloat16|Fp16|E4m3)Kv(Bfloat16|Fp16)')
                THEN '16-bit'
            ELSE MAP {
                '1': '16-bit', '30': '16-bit', '2': 'q4_0', '3': 'q4_1', '6': 'q5_0', '7': 'q5_1', '8': 'q8_0', '20': 'iq4_nl'
            }[regexp_extract(full_name, 'flash_attn\w*_vec\w*<.*?\(ggml_type\)(\d+), *\(ggml_type\)\d+', 1)]
        END AS kernel_dtype
    FROM attribute.phase_kernels
),
one AS (
    SELECT phase, min(kernel_dtype) AS kernel_dtype
    FROM told
    GROUP BY phase
    HAVING count(DISTINCT kernel_dtype) = 1
)
SELECT one.phase, c.gpu_busy_ns AS at_stake_ns, o.kv_dtype AS dtype, one.kernel_dtype
FROM one
JOIN input.pass_ops AS o USING (phase)
JOIN estimate.phase_costs AS c USING (phase)
WHERE c.bytes IS NOT NULL
    AND o.kv_dtype IN ('bf16', 'fp16', 'fp32', 'fp8', 'int8', 'int4', 'q8_0', 'q5_1', 'q5_0', 'q4_1', 'q4_0', 'iq4_nl')
    AND CASE one.kernel_dtype
        WHEN 'fp8' THEN o.kv_dtype NOT IN ('fp8', 'int8')
        WHEN '16-bit' THEN o.kv_dtype NOT IN ('bf16', 'fp16', 'fp32')
        ELSE o.kv_dtype <> one.kernel_dtype
    END
