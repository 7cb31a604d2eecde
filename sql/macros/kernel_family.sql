-- Kind of work of a kernel by its names: 'gemm', 'attention', 'norm', …; 'other' where no rule knows it.
-- Generated from nsys_pipeline/rules/kernels.toml by scripts/generate_references.py.
-- params: name, full_name
-- requires: macros.function_name
-- returns: VARCHAR  The family, as in the column `family` of the views.
SELECT list_transform(
    list_transform(
        list_transform(
            [coalesce(nullif(full_name, ''), name, '')],
            lambda known: {'full_name': known, 'scoped': macros.function_name(known)}
        ),
        lambda named: {
            'full_name': named.full_name, 'scoped': named.scoped,
            'own': regexp_extract(named.scoped, '([^:]*)$', 1)
        }
    ),
    lambda found: {'full_name': found.full_name, 'family': CASE
        WHEN regexp_matches(found.own, '^triton_poi_\w*(?:silu|gelu|relu|sigmoid|tanh)') THEN 'activation'
        WHEN regexp_matches(found.own, '^triton_poi_\w*embedding') THEN 'embedding'
        WHEN regexp_matches(found.own, '^triton_poi_fused_(?:_|clone|cat|stack|copy|index_put|slice|scatter|unsafe|view|transpose|permute|unsqueeze|expand)+\d*$') THEN 'copy'
        WHEN regexp_matches(found.own, '^triton_(?:poi|for)_') THEN 'elementwise'
        WHEN regexp_matches(found.own, '^triton_(?:red|per)_\w*(?:rsqrt|norm|welford)') THEN 'norm'
        WHEN regexp_matches(found.own, '^triton_(?:red|per)_\w*(?:argmax|topk|sort)') THEN 'sampling'
        WHEN regexp_matches(found.own, '^triton_(?:red|per)_\w*(?:softmax|nll_loss|cross_entropy|logsumexp)') THEN 'softmax and loss'
        WHEN regexp_matches(found.own, '^triton_(?:red|per)_') THEN 'reduction'
        WHEN regexp_matches(found.own, '^triton_tem_\w*(?:attention|attn|sdpa)') THEN 'attention'
        WHEN regexp_matches(found.own, '^triton_tem_') THEN 'gemm'
        WHEN regexp_matches(found.own, '^distribution_elementwise_grid_stride_kernel') THEN 'sampling'
        WHEN regexp_matches(found.own, '^(?:index_elementwise_kernel|_scatter_gather_elementwise_kernel)$') THEN 'elementwise:copy'
        WHEN regexp_matches(found.own, '^(?:(?:vectorized|unrolled|legacy|vectorized_templated|unrolled_templated)_)?elementwise_kernel|^kernelPointwiseApply\d|^elementwise_kernel_with_index$|^unary_(?:gated_)?op_kernel$') THEN 'elementwise:elementwise'
        WHEN regexp_matches(found.own, '^(?:reduce_kernel|reduce_last_dim_kernel|reduce_column_kernel|reduce_row_kernel)$') THEN 'reduction:reduction'
        WHEN regexp_matches(found.own, '^multi_tensor_apply_kernel') THEN 'foreach:optimizer'
        WHEN regexp_matches(found.own, '^Kernel2$') THEN 'cutlass:gemm'
        WHEN regexp_matches(found.scoped, '(?:^|::)ck_tile::kentry$') THEN 'ck_tile:other'
        WHEN regexp_matches(found.scoped, '(?:^|::)(?:cutlass|nvte_cutlass|cutlass_\w+)::(?:device_kernel|Kernel|cuda_host_adapter_kernel)$|^device_kernel$|^Kernel$') THEN 'cutlass:other'
        WHEN regexp_matches(found.own, '^(?:_kernel_agent|static_kernel|transform_kernel|launch_closure_by_value|launch_closure_by_pointer)$') THEN 'thrust:other'
        WHEN regexp_matches(found.own, '^indexSelect(?:Small|Large)Index$') THEN 'index_select:embedding'
        WHEN regexp_matches(found.own, '^kernel_cutlass_\w*(?:[Aa]ttention|[Ff][Mm][Hh][Aa])') THEN 'attention'
        WHEN regexp_matches(found.own, '^kernel_cutlass_\w*(?:[Gg]emm|GEMM|[Mm]at[Mm]ul)') THEN 'gemm'
        WHEN regexp_matches(found.own, '^kernel_cutlass_\w*(?:[Rr][Mm][Ss]_?[Nn]orm|[Ll]ayer_?[Nn]orm)') THEN 'norm'
        WHEN regexp_matches(found.own, '^kernel_cutlass_\w*(?:[Ss]oftmax|[Cc]ross_?[Ee]ntropy)') THEN 'softmax and loss'
        WHEN regexp_matches(found.own, '^kernel_cutlass_\w*(?:[Ee]lement_?wise|[Pp]ointwise)') THEN 'elementwise'
        WHEN regexp_matches(found.own, '(?i)gemma\d*_?\w*norm') THEN 'norm'
        WHEN regexp_matches(found.own, '(?i)cast_transpose|quantize_transpose|transpose_and_(?:pack|cast|quant)') THEN 'elementwise'
        WHEN regexp_matches(found.scoped, 'gemvx::kernel$') THEN 'gemv'
        WHEN regexp_matches(found.own, '(?i)reshape_and_cache|concat_and_cache|quant_and_cache|(?:set|store|write)_?kv|kv_?cache_?(?:copy|store|write|scatter)|append_?paged_?kv|copy_blocks|swap_blocks') THEN 'copy'
        WHEN regexp_matches(found.own, '(?i)repack') THEN 'copy'
        WHEN regexp_matches(found.own, '(?i)^p?nccl|cross_device_reduce|custom_?ar(?:_|$)|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|alltoall|nvshmem|multimem|symm_?mem|(?:one|two)_?shot|send_?recv|lamport|userbuffers|quick_?reduce|msccl') THEN 'communication'
        WHEN regexp_matches(found.own, '^get_dispatch_layout$') THEN 'moe routing'
        WHEN regexp_matches(found.scoped, '(?:^|::)(?:symmetric_memory|deep_ep|dpsk::ep|hybrid_ep|nixl_ep|uccl|mori|nvshmem\w*|mscclpp|quickreduce|pplx)::') THEN 'communication'
        WHEN regexp_matches(found.own, '^Ep(?:Dispatch|Combine)|moe_?A2A|^(?:barrier|put_signal|wait_signal)_kernel$|_on_stream_kernel(?:$|_)') THEN 'communication'
        WHEN regexp_matches(found.own, '(?i)delta_rule|gated_delta_?net|^chunk_(?:fwd|bwd)_kernel_|wy_repr|^recompute_w_u_|^chunk_scaled_dot_kkt|^solve_tril|^merge_16x16_to_|selective_(?:scan|state)|state_passing|chunk_(?:scan|state|(?:local_|global_)?cumsum)_|bmm_chunk_|causal_conv1d|mamba|(?:^|_)(?:ssd|ssm|kda|gla|rglru)_|fused_recurrent|wkv\d|lightning_?attn|linear_?attn|^chunk_[di]plr_|^_fwd_(?:diag|none_diag|kv_parallel|kv_reduce)_kernel') THEN 'recurrence'
        WHEN regexp_matches(found.own, '(?i)flash_?(?:fwd|bwd|attn|attention|mla|decod|splitkv|infer)|fmha|attention|attn|mmha|kernel_mha|^_?(?:fwd|bwd)_(?:grouped_)?kernel(?:$|_stage\d|_d[kqv])|decode_att|sdpa|(?:^|_)xqa(?:_|$)|lean_reduction|reduce_segments|paged_?kv|ragged_?kv|(?:^|_)mla_|BatchDecodeWith|BatchPrefillWith|SinglePrefill|SingleDecode|WithKVCache|MergeStates?|kv_indices|num_kv_splits|compute_dot_do_o|convert_dq_|mqa_logits|^_?fwd_kernel_splitK|^_splitK_reduce|preprocess_do_o') THEN 'attention'
        WHEN regexp_matches(found.scoped, '(?:^|::)(?:flash|pytorch_flash|FLASH_NAMESPACE|PyTorchMemEffAttention|mmha)::') THEN 'attention'
        WHEN regexp_matches(found.own, '(?i)fused_moe_(?:lora_)?kernel|moe_\w*gemm|moe_wna16|marlin_moe|grouped_?gemm|group_?gemm') THEN 'gemm'
        WHEN regexp_matches(found.own, '(?i)^_topk_(?:forward|backward)$|topk_?gating|gating_?topk|^topk_moe|^mm_ids_helper|moe_?gate_?kernel|moe_?(?:align|sum|gating|rout|permute|fused_gate|sort)|gating.*softmax|expert|permute_?tokens|unpermute|grouped_topk|group_limited_topk|count_and_sort|routing|fused_gate|expandInputRows|shuffle_?(?:input_?)?rows|(?:^|_)ep_(?:scatter|gather)(?:_|$)|^finalize(?:DeepSeek)?Kernel|^_row_id_map_pass') THEN 'moe routing'
        WHEN regexp_matches(found.scoped, '(?:^|::)(?:mb|sb)topk::') THEN 'sampling'
        WHEN regexp_matches(found.own, '(?i)sampl|arg_?max|arg_?min|multinomial|top_?p(?:_|$|[A-Z])|top_?k|bitonic|radix_?sort|merge_?sort|sort_?kv|exponential_?kernel|distribution_.*kernel|philox|gumbel|penalt|min_p_|logit_?bias|^_bias_kernel$|radixFindKth|find_?kth') THEN 'sampling'
        WHEN regexp_matches(found.own, '(?i)gemv|mul_mat_vec|dot_kernel|reduce_1Block_kernel') THEN 'gemv'
        WHEN regexp_matches(found.own, '(?i)nvjet|^cijk_|gemm|mul_mat_|xmma|cutlass|cublas|wgmma|_mma_|splitK_?reduce|splitK_|marlin|machete|matmul|(?:^|_)mm_|_mm(?:$|_)|bmm|(?:[shid]|\d)cudnn|conv(?:$|[^e])|implicit_convolve|convolve|winograd|dgrad|wgrad|fprop') THEN 'gemm'
        WHEN regexp_matches(found.own, '(?i)lora_(?:shrink|expand)|_lora_[ab]_kernel|^(?:sgmv|bgmv)') THEN 'gemm'
        WHEN regexp_matches(found.scoped, '^cublas(?:Lt)?::|(?:^|::)xmma_cudnn::') THEN 'gemm'
        WHEN regexp_matches(found.own, '^rope_norm$') THEN 'embedding'
        WHEN regexp_matches(found.own, '^lpnorm_cleanup$') THEN 'reduction'
        WHEN regexp_matches(found.own, '(?i)norm(?:$|[^a]|a(?:$|[^l]))|rms_norm|welford|gamma_?beta|cuComputeGradInput|(?:^|_)bn_(?:fw|bw)|^ln_(?:fwd|bwd)_|RowwiseMoments|ComputeFusedParams|ComputeBackwardFusedParams|ComputeInternalGradients') THEN 'norm'
        WHEN regexp_matches(found.own, '(?i)embedding|index_?select|get_rows|rotary|(?:^|[^a-z])(?:fused_?|apply_?|m)?rope(?:$|[^a-z])|^compute_grad_weight|^sum_and_scatter$|^krn_partial|partial_segments$') THEN 'embedding'
        WHEN regexp_matches(found.own, '(?:^|[a-z])Rope(?:$|[A-Z_])|RoPE') THEN 'embedding'
        WHEN regexp_matches(found.own, '(?i)adam|sgd_|(?:^|_)lamb(?:$|_)|foreach|adagrad|rmsprop|(?:^|_)lion(?:$|_)') THEN 'optimizer'
        WHEN regexp_matches(found.own, '(?i)silu|gelu|swiglu|relu|sigmoid|tanh|act_and_mul|swish|geglu|softplus|mish(?:$|_)|doActivation|doGatedActivation|gated_act|cast_gated|^activation(?:DeepSeek)?Kernel|^_fg_kernel$|^_DWf_DW_dfg_kernel$|^_(?:exact|approx)_(?:forward|backward)_kernel$') THEN 'activation'
        WHEN regexp_matches(found.own, '(?i)soft_?max|nll_loss|cross_?entropy|log_?sum_?exp|(?:^|_)loss(?:$|_)|(?:^|_)jsd(?:$|_)|kl_?div|tv_distance') THEN 'softmax and loss'
        WHEN regexp_matches(found.own, '(?i)copy|^cpy_|set_rows|cat_?array|cat_?batched|chunk_cat|transpose|concat|memcpy|memset|(?:^|_)fill|Fill[A-Z]|split_?kernel|split_with_sizes|stack_?kernel|triu|tril|scatter|gather|index_put|index_?func|indexing_backward|gpu_index_kernel|write_indices|compute_.*indices|permute|im2col|col2im|nchwToNhwc|nhwcToNchw|req_to_token|^compute_cuda_kernel$|reverse_indices|(?:^|_)padding_kernel') THEN 'copy'
        WHEN regexp_matches(found.own, '(?i)reduce|reduction|^mean_kernel|^sum_rows|(?:^|_)amax_|Device(?:Segmented)?Scan|cumsum|cumprod|(?:^|_)scan_|scan_?kernel|DeviceSelect|DeviceCompact|DeviceUnique|unique|histogram|DeviceRunLength') THEN 'reduction'
        WHEN regexp_matches(found.own, '(?i)elementwise|pointwise|^element_mul|triton_|arange|range_?kernel|where|masked|^scale_f32|compare|clamp|cos_kernel|sin_kernel|pow_|Functor|quant|cast|convert|(?:^|_)cvt_|bin_bcast|unary_|dropout|loop_\w*fusion|^fusion_\d+$') THEN 'elementwise'
        ELSE 'other'
    END}
).list_transform(
    lambda found: CASE
        WHEN starts_with(found.family, 'elementwise:') THEN CASE
            WHEN regexp_matches(found.full_name, '(?:^|[^a-zA-Z])(?:silu|gelu|relu|sigmoid|tanh|softplus|mish|hardswish|hardtanh|elu|glu|threshold)(?:_|>|:|,|\)|$)|Gelu\w*KernelImpl|(?:GELU|gelu|Silu|silu)\w*Functor') THEN 'activation'
            WHEN regexp_matches(found.full_name, 'FillFunctor|copy_kernel|copy_device_to_device|masked_fill|masked_scatter|flip_kernel|roll_kernel') THEN 'copy'
            WHEN regexp_matches(found.full_name, '(?:mse|smooth_l1|huber|binary_cross_entropy)\w*_kernel') THEN 'softmax and loss'
            ELSE substr(found.family, 13)
        END
        WHEN starts_with(found.family, 'reduction:') THEN CASE
            WHEN regexp_matches(found.full_name, 'Arg(?:Max|Min)Ops|arg(?:max|min)_') THEN 'sampling'
            ELSE substr(found.family, 11)
        END
        WHEN starts_with(found.family, 'foreach:') THEN CASE
            WHEN regexp_matches(found.full_name, '(?:^|[^a-zA-Z])Copy<|CopyFunctor') THEN 'copy'
            WHEN regexp_matches(found.full_name, '(?:^|[^a-zA-Z])(?:LpNorm|L2Norm|MaxNorm)Functor<') THEN 'reduction'
            ELSE substr(found.family, 9)
        END
        WHEN starts_with(found.family, 'index_select:') THEN CASE
            WHEN regexp_matches(found.full_name, 'indexSelect(?:Small|Large)Index<(?:[^<>,]|<[^<>]*>)+, (?:long|int), [a-z ]+, (?:\(int\))?1, (?:\(int\))?1,|indexSelect(?:Small|Large)Index<(?:long|int|bool|short|char|signed char|unsigned char),') THEN 'copy'
            ELSE substr(found.family, 14)
        END
        WHEN starts_with(found.family, 'cutlass:') THEN CASE
            WHEN regexp_matches(found.full_name, '(?:^|[^a-z])flash::|FlashAttn|[Ff]mha|AttentionKernel|attention::|_attention_|Sm\d+FmhaF|Mla') THEN 'attention'
            WHEN regexp_matches(found.full_name, '<') THEN 'gemm'
            ELSE substr(found.family, 9)
        END
        WHEN starts_with(found.family, 'ck_tile:') THEN CASE
            WHEN regexp_matches(found.full_name, 'Fmha') THEN 'attention'
            WHEN regexp_matches(found.full_name, '(?:norm|Norm)2d|(?:RmsNorm|Rmsnorm|Layernorm)') THEN 'norm'
            WHEN regexp_matches(found.full_name, 'MoeSorting|TopkSoftmax') THEN 'moe routing'
            WHEN regexp_matches(found.full_name, 'Gemm|FlatMM|FlatmmKernel') THEN 'gemm'
            ELSE substr(found.family, 9)
        END
        WHEN starts_with(found.family, 'thrust:') THEN CASE
            WHEN regexp_matches(found.full_name, '__reduce|ReduceAgent|__scan|ScanAgent|__unique|UniqueAgent|__copy_if|CopyIfAgent') THEN 'reduction'
            WHEN regexp_matches(found.full_name, '__merge_sort|SortAgent|RadixSort') THEN 'sampling'
            WHEN regexp_matches(found.full_name, '__parallel_for|ParallelForAgent|for_each|__transform|unary_transform|binary_transform') THEN 'elementwise'
            ELSE substr(found.family, 8)
        END
        ELSE found.family
    END
)[1]
