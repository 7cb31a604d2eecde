-- Kind of work of a kernel by its names: 'gemm', 'attention', 'norm', …; 'other' where no rule knows it.
-- Generated from nsys_pipeline/rules/kernels.toml by scripts/generate_references.py.
-- params: name, full_name
-- requires:
-- returns: VARCHAR  The family, as in the column `family` of the views.
SELECT list_transform(
    [{'short': CASE
        WHEN regexp_matches(name, '^triton_poi_\w*(?:silu|gelu|relu|sigmoid|tanh)') THEN 'activation'
        WHEN regexp_matches(name, '^triton_poi_\w*embedding') THEN 'embedding'
        WHEN regexp_matches(name, '^triton_poi_fused_(?:_|clone|cat|stack|copy|index_put|slice|scatter|unsafe|view|transpose|permute|unsqueeze|expand)+\d*$') THEN 'copy'
        WHEN regexp_matches(name, '^triton_(?:poi|for)_') THEN 'elementwise'
        WHEN regexp_matches(name, '^triton_(?:red|per)_\w*(?:rsqrt|norm|welford)') THEN 'norm'
        WHEN regexp_matches(name, '^triton_(?:red|per)_\w*(?:argmax|topk|sort)') THEN 'sampling'
        WHEN regexp_matches(name, '^triton_(?:red|per)_\w*(?:softmax|nll_loss|cross_entropy|logsumexp)') THEN 'softmax and loss'
        WHEN regexp_matches(name, '^triton_(?:red|per)_') THEN 'reduction'
        WHEN regexp_matches(name, '(?i)reshape_and_cache|concat_and_cache|(?:set|store|write)_kv|kv_?cache_?(?:copy|store|write|scatter)') THEN 'copy'
        WHEN regexp_matches(name, '(?i)cross_device_reduce|custom_ar|nccl|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|nvshmem|multimem|symm_mem|one_shot|two_shot|sendrecv|deep_?ep') THEN 'communication'
        WHEN regexp_matches(name, '(?i)flash|fmha|attention|attn|lean_reduction|_fwd_(?:grouped_)?kernel_stage\d|\b_fwd_kernel\b|num_kv_splits|decode_att_|mmha|reduce_segments|paged_?kv|mla_|BatchDecodeWith|BatchPrefillWith|SinglePrefill|SingleDecode|softmax_warp_forward_mask|cutlass.*FmhaFwd|cudnn.*sdpa|sdpa') THEN 'attention'
        WHEN regexp_matches(name, '(?i)fused_moe_kernel|fused_moe_\w*gemm') THEN 'gemm'
        WHEN regexp_matches(name, '(?i)topk_?gating|moe_(?:align|sum|gating|route|permute)|gating.*softmax|expert|permute_?tokens|unpermute|grouped_topk|group_limited_topk|count_and_sort') THEN 'moe routing'
        WHEN regexp_matches(name, '(?i)sampl|argmax|multinomial|top_?p|top_?k|gatherTopK|sbtopk|mbtopk|bitonic|radixSort|RadixSort|DeviceMergeSort|ArgMax|exponential_?kernel|distribution_.*kernel|philox') THEN 'sampling'
        WHEN regexp_matches(name, '(?i)gemv|dot_kernel|reduce_1Block_kernel') THEN 'gemv'
        WHEN regexp_matches(name, '(?i)nvjet|gemm|xmma|cutlass|cublas|wgmma|_mma_|splitKreduce|splitK_|marlin|machete|cutlass_\w+|s\d+_?gemm|sgemm|hgemm|dgemm|matmul|_mm_|grouped_mm|bmm|triton_.*(?:mm|matmul)|ampere_.*gemm|sm\d+_(?:xmma|gemm)|conv(?:olve|2d|_)|implicit_convolve|group_gemm|prepare_grouped') THEN 'gemm'
        WHEN regexp_matches(name, '(?i)norm|rms_?|welford|triton_(?:red|per)_\w*rsqrt') THEN 'norm'
        WHEN regexp_matches(name, '(?i)embedding|indexSelect|index_select|vectorized_gather|rotary|rope|gather_kernel|indexFuncLargeIndex|indexFuncSmallIndex') THEN 'embedding'
        WHEN regexp_matches(name, '(?i)adam|multi_tensor_apply|sgd_|lamb_|foreach') THEN 'optimizer'
        WHEN regexp_matches(name, '(?i)silu|gelu|swiglu|relu|sigmoid|tanh|act_and_mul|swish|geglu|softplus|mish') THEN 'activation'
        WHEN regexp_matches(name, '(?i)copy|cat(?:array)?_?batched|CatArray|transpose|concat|memcpy|memset|fill|split_?kernel|stack_?kernel|triu|tril|reshape_and_cache|scatter|index_put|index_copy|indexing_backward|index_elementwise|gpu_index_kernel|write_indices|compute_.*indices') THEN 'copy'
        WHEN regexp_matches(name, '(?i)softmax|nll_loss|cross_?entropy|log_?sum_?exp') THEN 'softmax and loss'
        WHEN regexp_matches(name, '(?i)reduce|DeviceScan|cumsum|cumprod|scan_?kernel|DeviceSelect|DeviceCompact|unique|histogram') THEN 'reduction'
        WHEN regexp_matches(name, '(?i)elementwise|pointwise|triton_poi|triton_per|triton_red|arange|range_?kernel|where|masked|compare|clamp|cos_kernel|sin_kernel|pow_|Functor|quant|dequant|cast|convert|dropout|triton_') THEN 'elementwise'
    END, 'long': CASE
        WHEN regexp_matches(full_name, '^triton_poi_\w*(?:silu|gelu|relu|sigmoid|tanh)') THEN 'activation'
        WHEN regexp_matches(full_name, '^triton_poi_\w*embedding') THEN 'embedding'
        WHEN regexp_matches(full_name, '^triton_poi_fused_(?:_|clone|cat|stack|copy|index_put|slice|scatter|unsafe|view|transpose|permute|unsqueeze|expand)+\d*$') THEN 'copy'
        WHEN regexp_matches(full_name, '^triton_(?:poi|for)_') THEN 'elementwise'
        WHEN regexp_matches(full_name, '^triton_(?:red|per)_\w*(?:rsqrt|norm|welford)') THEN 'norm'
        WHEN regexp_matches(full_name, '^triton_(?:red|per)_\w*(?:argmax|topk|sort)') THEN 'sampling'
        WHEN regexp_matches(full_name, '^triton_(?:red|per)_\w*(?:softmax|nll_loss|cross_entropy|logsumexp)') THEN 'softmax and loss'
        WHEN regexp_matches(full_name, '^triton_(?:red|per)_') THEN 'reduction'
        WHEN regexp_matches(full_name, '(?i)reshape_and_cache|concat_and_cache|(?:set|store|write)_kv|kv_?cache_?(?:copy|store|write|scatter)') THEN 'copy'
        WHEN regexp_matches(full_name, '(?i)cross_device_reduce|custom_ar|nccl|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|nvshmem|multimem|symm_mem|one_shot|two_shot|sendrecv|deep_?ep') THEN 'communication'
        WHEN regexp_matches(full_name, '(?i)flash|fmha|attention|attn|lean_reduction|_fwd_(?:grouped_)?kernel_stage\d|\b_fwd_kernel\b|num_kv_splits|decode_att_|mmha|reduce_segments|paged_?kv|mla_|BatchDecodeWith|BatchPrefillWith|SinglePrefill|SingleDecode|softmax_warp_forward_mask|cutlass.*FmhaFwd|cudnn.*sdpa|sdpa') THEN 'attention'
        WHEN regexp_matches(full_name, '(?i)fused_moe_kernel|fused_moe_\w*gemm') THEN 'gemm'
        WHEN regexp_matches(full_name, '(?i)topk_?gating|moe_(?:align|sum|gating|route|permute)|gating.*softmax|expert|permute_?tokens|unpermute|grouped_topk|group_limited_topk|count_and_sort') THEN 'moe routing'
        WHEN regexp_matches(full_name, '(?i)sampl|argmax|multinomial|top_?p|top_?k|gatherTopK|sbtopk|mbtopk|bitonic|radixSort|RadixSort|DeviceMergeSort|ArgMax|exponential_?kernel|distribution_.*kernel|philox') THEN 'sampling'
        WHEN regexp_matches(full_name, '(?i)gemv|dot_kernel|reduce_1Block_kernel') THEN 'gemv'
        WHEN regexp_matches(full_name, '(?i)nvjet|gemm|xmma|cutlass|cublas|wgmma|_mma_|splitKreduce|splitK_|marlin|machete|cutlass_\w+|s\d+_?gemm|sgemm|hgemm|dgemm|matmul|_mm_|grouped_mm|bmm|triton_.*(?:mm|matmul)|ampere_.*gemm|sm\d+_(?:xmma|gemm)|conv(?:olve|2d|_)|implicit_convolve|group_gemm|prepare_grouped') THEN 'gemm'
        WHEN regexp_matches(full_name, '(?i)norm|rms_?|welford|triton_(?:red|per)_\w*rsqrt') THEN 'norm'
        WHEN regexp_matches(full_name, '(?i)embedding|indexSelect|index_select|vectorized_gather|rotary|rope|gather_kernel|indexFuncLargeIndex|indexFuncSmallIndex') THEN 'embedding'
        WHEN regexp_matches(full_name, '(?i)adam|multi_tensor_apply|sgd_|lamb_|foreach') THEN 'optimizer'
        WHEN regexp_matches(full_name, '(?i)silu|gelu|swiglu|relu|sigmoid|tanh|act_and_mul|swish|geglu|softplus|mish') THEN 'activation'
        WHEN regexp_matches(full_name, '(?i)copy|cat(?:array)?_?batched|CatArray|transpose|concat|memcpy|memset|fill|split_?kernel|stack_?kernel|triu|tril|reshape_and_cache|scatter|index_put|index_copy|indexing_backward|index_elementwise|gpu_index_kernel|write_indices|compute_.*indices') THEN 'copy'
        WHEN regexp_matches(full_name, '(?i)softmax|nll_loss|cross_?entropy|log_?sum_?exp') THEN 'softmax and loss'
        WHEN regexp_matches(full_name, '(?i)reduce|DeviceScan|cumsum|cumprod|scan_?kernel|DeviceSelect|DeviceCompact|unique|histogram') THEN 'reduction'
        WHEN regexp_matches(full_name, '(?i)elementwise|pointwise|triton_poi|triton_per|triton_red|arange|range_?kernel|where|masked|compare|clamp|cos_kernel|sin_kernel|pow_|Functor|quant|dequant|cast|convert|dropout|triton_') THEN 'elementwise'
    END}],
    lambda found: CASE
        WHEN found.short IS NULL THEN coalesce(found.long, 'other')
        WHEN found.short IN ('elementwise', 'reduction') AND full_name <> name
            THEN coalesce(found.long, found.short)
        ELSE found.short
    END
)[1]
