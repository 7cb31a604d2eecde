"""Random valid configs of text decoders, from a seed: what a checkpoint may say that no golden config happens to say.

Only fields that the model type's config class has are set, each from a small pool; switches are thrown at random. A
field that the estimator overlooks therefore shows up as a difference to torch's count sooner or later.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from nsys_pipeline.model.fields import class_defaults

Config = dict[str, Any]

#: Switches that change no product, or that make transformers refuse the config.
_FIXED = {
    "is_decoder", "add_cross_attention", "use_bidirectional_attention", "use_cache", "is_causal",
    "use_mamba_kernels", "use_mambapy", "use_associative_scan", "slow_but_exact", "reorder_and_upcast_attn",
    "use_double_wide_mlp", "attention_k_eq_v", "enable_moe_block", "mamba_norm_before_gate", "tie_word_embeddings",
}  # fmt: skip


def _pick(*values: Any) -> Callable[[Random], Any]:
    return lambda rng: rng.choice(values)


_POOLS: dict[str, Callable[[Random], Any]] = {
    "moe_intermediate_size": _pick(16, 24, 40),
    "shared_expert_intermediate_size": _pick(16, 56),
    "shared_intermediate_size": _pick(16, 56),
    "moe_shared_expert_intermediate_size": _pick(16, 56),
    "n_shared_experts": _pick(1, 2, 3),
    "num_shared_experts": _pick(1, 2),
    "moe_num_shared_experts": _pick(1, 2, 3),
    "first_k_dense_replace": _pick(0, 1, 2),
    "num_dense_layers": _pick(0, 1, 2),
    "decoder_sparse_step": _pick(1, 2),
    "interleave_moe_layer_step": _pick(1, 2),
    "moe_layer_interval": _pick(1, 2),
    "moe_layer_start_index": _pick(0, 1),
    "moe_layer_end_index": _pick(-1, 3),
    "intermediate_size_mlp": _pick(48, 80),
    "kv_lora_rank": _pick(16, 24),
    "q_lora_rank": _pick(None, 12, 32),
    "qk_nope_head_dim": _pick(8, 12),
    "qk_rope_head_dim": _pick(4, 8),
    "v_head_dim": _pick(8, 20),
    "moe_apply_router_weight_on_input": _pick(False),
    "sliding_window": _pick(None, 3, 7, 64),
    "attention_chunk_size": _pick(4, 7, 64),
    "max_window_layers": _pick(0, 2, 9),
    "no_rope_layer_interval": _pick(2, 4),
    "word_embed_proj_dim": _pick(None, 24),
    "ffn_dim": _pick(40, 96),
    "n_inner": _pick(None, 72),
    "n_positions": _pick(128),
    "max_position_embeddings": _pick(128, 256),
    "max_seq_len": _pick(128),
    "expansion_ratio": _pick(2, 4),
    "ffn_hidden_size": _pick(None, 72),
    "num_kv_heads": _pick(None),
    "num_ln_in_parallel_attn": _pick(None, 2),
    "linear_num_key_heads": _pick(1, 2),
    "linear_num_value_heads": _pick(2, 4),
    "linear_key_head_dim": _pick(4, 8),
    "linear_value_head_dim": _pick(4, 8),
    "linear_conv_kernel_dim": _pick(2, 4),
    "linear_head_dim": _pick(4, 8),
    "linear_num_heads": _pick(2, 4),
    "mamba_d_state": _pick(4, 8),
    "mamba_d_conv": _pick(2, 4),
    "mamba_expand": _pick(2),
    "mamba_n_groups": _pick(1, 2),
    "mamba_dt_rank": _pick("auto", 3),
    "mamba_d_head": _pick("auto"),
    "attn_layer_period": _pick(2, 3),
    "attn_layer_offset": _pick(0, 1),
    "expert_layer_period": _pick(1, 2),
    "expert_layer_offset": _pick(0),
    "conv_L_cache": _pick(2, 3),
    "block_multiple_of": _pick(8, 16),
    "block_ffn_dim_multiplier": _pick(1.0, 1.3),
    "block_auto_adjust_ff_dim": _pick(True, False),
    "hidden_size_per_layer_input": _pick(8, 12),
    "vocab_size_per_layer_input": _pick(60, 100),
    "global_head_dim": _pick(8, 24),
    "num_global_key_value_heads": _pick(None),
    "num_kv_shared_layers": _pick(0),
    "head_dim": _pick(None),
    "use_qk_norm": _pick(True, False),
    "n_group": _pick(1),
    "topk_group": _pick(1),
}  # fmt: skip


def _experts(rng: Random) -> tuple[int, int]:
    experts = rng.choice((2, 4, 8))
    return experts, rng.randint(1, experts)


def random_config(model_type: str, rng: Random) -> Config:
    """One config. Sizes are small and mostly different from each other, so that two swapped ones do not go unseen."""
    fields = dict(class_defaults(model_type).get("fields", {}))
    aliases = class_defaults(model_type).get("aliases", {})
    heads, head_dim = rng.choice((1, 2, 4, 6, 8)), rng.choice((8, 16, 24))
    kv_heads = rng.choice([n for n in (1, 2, 3, 4, 6, 8) if heads % n == 0])
    depth = rng.randint(1, 6)
    width = heads * head_dim
    config: Config = {
        "model_type": model_type,
        aliases.get("hidden_size", "hidden_size"): width,
        aliases.get("num_hidden_layers", "num_hidden_layers"): depth,
        aliases.get("num_attention_heads", "num_attention_heads"): heads,
        "vocab_size": rng.choice((50, 101)),
        "pad_token_id": 0,
    }
    config[aliases.get("intermediate_size", "intermediate_size")] = rng.choice((40, 72, 88))
    if rng.random() < 0.8 or fields.get("num_key_value_heads") is not None:
        config["num_key_value_heads"] = kv_heads
    _set_fields(config, fields, rng)
    if "tie_word_embeddings" in fields and rng.random() < 0.6:
        config["tie_word_embeddings"] = rng.random() < 0.5
    if "head_dim" in fields:
        explicit = rng.random() < 0.6
        config["head_dim"] = rng.choice((4, 8, 16)) if explicit else head_dim
    _set_experts(config, fields, rng)
    _layer_types(config, fields, depth, rng)
    special = _SPECIAL.get(model_type)
    if special is not None:
        special(config, rng)
    return {key: value for key, value in config.items() if value is not ...}


def _set_fields(config: Config, fields: Config, rng: Random) -> None:
    for name, default in fields.items():
        if name in config or name in _FIXED or (name.startswith("num_expert") and name != "num_experts_per_tok"):
            continue
        if name in _POOLS:
            if rng.random() < 0.85 or default is None or not isinstance(default, bool):
                config[name] = _POOLS[name](rng)
        elif isinstance(default, bool) and rng.random() < 0.5:
            config[name] = rng.random() < 0.5


def _set_experts(config: Config, fields: Config, rng: Random) -> None:
    experts, top_k = _experts(rng)
    for name in ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"):
        if name in fields:
            config[name] = experts
    for name in ("num_experts_per_tok", "moe_k", "moe_topk"):
        if name in fields:
            config[name] = top_k


def _layer_types(config: Config, fields: Config, depth: int, rng: Random) -> None:
    if "layer_types" in fields and config.get("sliding_window") and rng.random() < 0.6:
        config["layer_types"] = [rng.choice(("sliding_attention", "full_attention")) for _ in range(depth)]


def _linear_layers(config: Config, rng: Random) -> None:
    depth = config["num_hidden_layers"]
    config["layer_types"] = [rng.choice(("linear_attention", "full_attention")) for _ in range(depth)]
    # transformers runs a hybrid without weights only if it has at least one layer with keys.
    config["layer_types"][-1] = "full_attention"


def _mamba2_heads(config: Config, rng: Random) -> None:
    inner = 2 * config["hidden_size"]
    config["mamba_n_heads"] = rng.choice([n for n in (2, 4, 8) if inner % n == 0])
    config["mamba_d_head"] = rng.choice(("auto", inner // config["mamba_n_heads"]))


def _gemma(config: Config, _rng: Random) -> None:
    config.setdefault("head_dim", 8)


def _deepseek(config: Config, rng: Random) -> None:
    experts = config["n_routed_experts"]
    if config["model_type"] == "deepseek_v3":
        # The router of V3 looks at the two best of each group.
        groups = 2 if experts >= 4 else 1
        config.update(n_routed_experts=max(experts, 2), n_group=groups, topk_group=1)
        config["num_experts_per_tok"] = rng.randint(1, config["n_routed_experts"] // groups)
    config["num_key_value_heads"] = config["num_attention_heads"]


def _deepseek_dense(config: Config, rng: Random) -> None:
    config["num_key_value_heads"] = config["num_attention_heads"]
    config["q_lora_rank"] = rng.choice((16, 32))
    config["head_dim"] = ...


def _mlp_layer_types(config: Config, rng: Random) -> None:
    _deepseek(config, rng)
    if rng.random() < 0.5:
        config["mlp_layer_types"] = [rng.choice(("dense", "sparse")) for _ in range(config["num_hidden_layers"])]


def _kimi(config: Config, rng: Random) -> None:
    _linear_layers(config, rng)
    _deepseek({**config, "n_routed_experts": 4}, rng)
    config["num_key_value_heads"] = config["num_attention_heads"]
    config["mlp_layer_types"] = [rng.choice(("dense", "sparse")) for _ in range(config["num_hidden_layers"])]


def _jamba(config: Config, rng: Random) -> None:
    config["use_mamba_kernels"] = False
    config["num_hidden_layers"] = max(config["num_hidden_layers"], config["attn_layer_offset"] + 1)


def _bamba(config: Config, rng: Random) -> None:
    _mamba2_heads(config, rng)
    depth = config["num_hidden_layers"]
    config["attn_layer_indices"] = sorted({rng.randrange(depth), depth - 1})


def _falcon_h1(config: Config, rng: Random) -> None:
    heads, size = rng.choice((2, 4)), rng.choice((8, 16))
    config.update(mamba_d_ssm=heads * size, mamba_n_heads=heads, mamba_d_head=rng.choice((size, "auto")))


def _granite_hybrid(config: Config, rng: Random) -> None:
    _mamba2_heads(config, rng)
    config["layer_types"] = [rng.choice(("mamba", "attention")) for _ in range(config["num_hidden_layers"])]
    config["layer_types"][-1] = "attention"
    if rng.random() < 0.3:
        config["num_local_experts"] = 0


def _nemotron_h(config: Config, rng: Random) -> None:
    pattern = [rng.choice("M-E*") for _ in range(config.pop("num_hidden_layers"))] + ["*"]
    config["hybrid_override_pattern"] = "".join(pattern)
    config.update(mamba_num_heads=4, mamba_head_dim=rng.choice((4, 8)), ssm_state_size=rng.choice((4, 8)))
    config.update(n_groups=rng.choice((1, 2)), head_dim=rng.choice((4, 8)), n_group=1, topk_group=1, expand=2)
    config["moe_latent_size"] = rng.choice((None, 16))


def _minimax(config: Config, rng: Random) -> None:
    _linear_layers(config, rng)
    # transformers forgets the cache of a chunked prompt where the first layer keeps no keys.
    config["layer_types"][0] = "full_attention"
    config["head_dim"] = rng.choice((4, 8, 16))


def _lfm2(config: Config, rng: Random) -> None:
    depth = config["num_hidden_layers"]
    kinds = [rng.choice(("conv", "full_attention")) for _ in range(depth - 1)] + ["full_attention"]
    config["layer_types"] = kinds
    config.pop("full_attn_idxs", None)


def _gpt(config: Config, _rng: Random) -> None:
    config.pop("num_key_value_heads", None)
    config.pop("intermediate_size", None)
    config["rotary_dim"] = 4
    if config["model_type"] == "codegen":
        # The projections are cut into four parts.
        config.update(n_head=4, n_embd=32)


def _gemma4(config: Config, rng: Random) -> None:
    depth = config["num_hidden_layers"]
    config["layer_types"] = [rng.choice(("sliding_attention", "full_attention")) for _ in range(depth)]
    config["layer_types"][-1] = "full_attention"
    config["sliding_window"] = rng.choice((3, 7, 64))
    config["moe_intermediate_size"] = 24
    config["num_experts"], config["top_k_experts"] = 4, rng.randint(1, 4)
    config["enable_moe_block"] = rng.random() < 0.5
    config["attention_k_eq_v"] = rng.random() < 0.5


def _needs_window(config: Config, rng: Random) -> None:
    config["sliding_window"] = rng.choice((3, 7, 64))


def _zamba(config: Config, rng: Random) -> None:
    depth = config["num_hidden_layers"] = max(3, config["num_hidden_layers"])
    config["layers_block_type"] = [rng.choice(("mamba", "hybrid")) for _ in range(depth - 1)] + ["hybrid"]
    config.update(attention_hidden_size=None, attention_head_dim=None, n_mamba_heads=rng.choice((1, 2, 4)))
    config["num_key_value_heads"] = config["num_attention_heads"]
    # transformers shares blocks only together with the table.
    config["tie_word_embeddings"] = True


def _zamba2(config: Config, rng: Random) -> None:
    _zamba(config, rng)
    del config["attention_hidden_size"], config["attention_head_dim"]
    config["num_hidden_layers"] = len(config["layers_block_type"])
    config.update(mamba_ngroups=1, num_mem_blocks=rng.choice((1, 2)), adapter_rank=rng.choice((8, 16)))


def _gemma3n(config: Config, rng: Random) -> None:
    depth = config["num_hidden_layers"] = rng.randint(3, 6)
    kinds = ["sliding_attention", "full_attention"]
    config["layer_types"] = kinds + [rng.choice(kinds) for _ in range(depth - 2)]
    config["num_kv_shared_layers"] = rng.randint(0, depth - 2)
    config.update(sliding_window=rng.choice((3, 7, 64)), laurel_rank=rng.choice((8, 16)), altup_num_inputs=4)
    config["intermediate_size"] = rng.choice((40, [rng.choice((40, 72)) for _ in range(depth)]))
    config["activation_sparsity_pattern"] = [0.0] * depth


def _olmo_hybrid(config: Config, rng: Random) -> None:
    config["num_hidden_layers"] = max(2, config["num_hidden_layers"])
    _linear_layers(config, rng)
    config["layer_types"][0] = "linear_attention"


def _state_space(config: Config, rng: Random) -> None:
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
        config.pop(name, None)
    config.update(state_size=rng.choice((4, 8)), conv_kernel=rng.choice((2, 4)), expand=2)
    if config["model_type"] == "mamba2":
        config.update(head_dim=8, num_heads=config["hidden_size"] // 4, n_groups=rng.choice((1, 2)))
    else:
        config["time_step_rank"] = rng.choice(("auto", 3))


def _gpt_neo(config: Config, rng: Random) -> None:
    depth = config["num_layers"]
    config["attention_types"] = [[[rng.choice(("global", "local"))], 1] for _ in range(depth)]
    config.update(window_size=rng.choice((3, 7, 64)), max_position_embeddings=128)
    config.pop("num_key_value_heads", None)


def _dbrx(config: Config, rng: Random) -> None:
    kv_heads = config.pop("num_key_value_heads", 1)
    config["attn_config"] = {"kv_n_heads": kv_heads, "rope_theta": 10000.0, "clip_qkv": 8}
    experts, top_k = _experts(rng)
    config["ffn_config"] = {"ffn_hidden_size": rng.choice((24, 40)), "moe_num_experts": experts, "moe_top_k": top_k}
    config.update(max_seq_len=128)
    config.pop("tie_word_embeddings", None)


def _mimo(config: Config, rng: Random) -> None:
    _gpt_oss(config, rng)
    config.update(num_attention_heads=8, num_key_value_heads=rng.choice((1, 2, 4)), head_dim=rng.choice((8, 12)))
    config["v_head_dim"] = rng.choice((8, 16))
    _mlp_types(config, rng)


def _mlp_types(config: Config, rng: Random) -> None:
    if rng.random() < 0.7:
        config["mlp_layer_types"] = [rng.choice(("dense", "sparse")) for _ in range(config["num_hidden_layers"])]


def _laguna(config: Config, rng: Random) -> None:
    _gpt_oss(config, rng)
    _mlp_types(config, rng)
    config["num_key_value_heads"] = 2
    depth = config["num_hidden_layers"]
    config["num_attention_heads_per_layer"] = [rng.choice((2, 4, 6)) for _ in range(depth)]
    config["gating"] = rng.choice((True, "per-head", "per-element"))


def _sparse(config: Config, rng: Random) -> None:
    _deepseek(config, rng)
    _mlp_types(config, rng)
    config.update(index_topk=rng.choice((3, 7, 64)), index_n_heads=rng.choice((1, 4)), index_head_dim=16)
    config.update(q_lora_rank=rng.choice((16, 32)), qk_rope_head_dim=8, head_dim=8)
    if config["model_type"] == "glm_moe_dsa" and rng.random() < 0.6:
        depth = config["num_hidden_layers"]
        config["indexer_types"] = ["full"] + [rng.choice(("full", "shared")) for _ in range(depth - 1)]


def _windowed_experts(config: Config, rng: Random) -> None:
    _needs_window(config, rng)
    _mlp_types(config, rng)


def _persimmon(config: Config, _rng: Random) -> None:
    config.pop("num_key_value_heads", None)


def _gpt_oss(config: Config, rng: Random) -> None:
    _needs_window(config, rng)
    config["layer_types"] = [
        rng.choice(("sliding_attention", "full_attention")) for _ in range(config["num_hidden_layers"])
    ]


def _llama4(config: Config, rng: Random) -> None:
    config["head_dim"] = rng.choice((4, 8, 16))


def _derived_heads(config: Config, _rng: Random) -> None:
    config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]


def _deepseek_v4(config: Config, rng: Random) -> None:
    heads, depth = rng.choice((2, 4, 8)), config["num_hidden_layers"]
    config.update(num_attention_heads=heads, num_key_value_heads=1, head_dim=rng.choice((16, 32)))
    config.update(partial_rotary_factor=0.25, q_lora_rank=rng.choice((12, 32)), n_shared_experts=1)
    config.update(o_groups=rng.choice((1, 2)), o_lora_rank=rng.choice((8, 12)), hc_mult=rng.choice((2, 3, 4)))
    config.update(
        index_topk=rng.choice((1, 3, 64)), index_n_heads=rng.choice((1, 4)), index_head_dim=rng.choice((8, 16))
    )
    config.update(sliding_window=rng.choice((2, 3, 7, 64)), scoring_func="sqrtsoftplus")
    config["compress_rates"] = {
        "compressed_sparse_attention": rng.choice((2, 3, 4)),
        "heavily_compressed_attention": rng.choice((5, 8)),
    }
    config.pop("intermediate_size", None)
    config["moe_intermediate_size"] = rng.choice((16, 24))
    kinds = ("sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention")
    config["layer_types"] = [rng.choice(kinds) for _ in range(depth)]
    if rng.random() < 0.4:
        config["layer_types"] = ...
    elif rng.random() < 0.4:
        config.update(
            layer_types=..., compress_rates=..., compress_ratios=[rng.choice((0, 4, 128)) for _ in range(depth + 1)]
        )
    config["mlp_layer_types"] = [rng.choice(("moe", "hash_moe")) for _ in range(depth)]


def _minimax_m3(config: Config, rng: Random) -> None:
    depth = config["num_hidden_layers"]
    kv_heads = rng.choice((1, 2, 4))
    config.update(num_attention_heads=8, num_key_value_heads=kv_heads, index_n_heads=kv_heads)
    config.update(head_dim=rng.choice((8, 16)), rotary_dim=8, index_head_dim=rng.choice((8, 16)))
    config.update(index_block_size=rng.choice((2, 4, 5)), index_topk_blocks=rng.choice((1, 2, 3, 20)))
    config.update(dense_intermediate_size=rng.choice((40, 96)), shared_intermediate_size=rng.choice((24, 56)))
    config["layer_types"] = [rng.choice(("full_attention", "minimax_m3_sparse")) for _ in range(depth)]
    _mlp_types(config, rng)


def _bailing_hybrid(config: Config, rng: Random) -> None:
    config.update(head_dim=rng.choice((8, 16)), num_key_value_heads=config["num_attention_heads"])
    config.update(
        n_group=1, topk_group=1, layer_group_size=rng.choice((1, 2, 3)), short_conv_kernel_size=rng.choice((2, 4))
    )
    config["num_hidden_layers"] = max(config["num_hidden_layers"], config["layer_group_size"])
    _mlp_types(config, rng)


def _recurrent_gemma(config: Config, rng: Random) -> None:
    config.update(attention_window_size=rng.choice((3, 7, 64)), conv1d_width=rng.choice((2, 4)))
    pattern = [rng.choice(("recurrent", "attention")) for _ in range(rng.randint(1, 3))]
    config.update(block_types=[*pattern, "attention"], lru_width=rng.choice((None, config["hidden_size"])))
    config["num_hidden_layers"] = max(config["num_hidden_layers"], len(pattern) + 1)


def _listed_kinds(config: Config, rng: Random) -> None:
    _gpt_oss(config, rng)
    _mlp_types(config, rng)


def _flint(config: Config, rng: Random) -> None:
    _gpt_oss(config, rng)
    config["mlp_only_layers"] = rng.choice((None, [], [1]))


def _aria(config: Config, rng: Random) -> None:
    config["moe_num_experts"], config["moe_topk"] = _experts(rng)


def _axk1(config: Config, rng: Random) -> None:
    config.update(n_group=1, topk_group=1, num_key_value_heads=config["num_attention_heads"], head_dim=...)
    config["q_lora_rank"] = rng.choice((12, 32))
    if rng.random() < 0.5:
        _mlp_types(config, rng)
    else:
        config.update(first_k_dense_replace=rng.choice((0, 1, 2)), moe_layer_freq=rng.choice((1, 2)))


def _hy_v4(config: Config, rng: Random) -> None:
    _sparse(config, rng)
    depth = config["num_hidden_layers"]
    config.update(hc_mult=rng.choice((2, 3)), swiglu_limit=10.0, n_group=1, topk_group=1)
    if rng.random() < 0.6:
        config["indexer_types"] = ["full"] + [rng.choice(("full", "shared")) for _ in range(depth - 1)]


def _lfm3(config: Config, rng: Random) -> None:
    depth = config["num_hidden_layers"]
    kinds = ("conv", "full_attention", "sliding_attention")
    # transformers runs a hybrid without weights only if it has at least one layer with keys.
    config["layer_types"] = [rng.choice(kinds) for _ in range(depth - 1)] + [rng.choice(kinds[1:])]
    config["sliding_window"] = rng.choice((3, 7, 64))


def _jetmoe(config: Config, rng: Random) -> None:
    config.update(kv_channels=rng.choice((8, 12)), num_key_value_heads=rng.choice((1, 2, 4)))
    config.pop("num_attention_heads", None)
    config.pop("head_dim", None)


def _opt(config: Config, _rng: Random) -> None:
    config["max_position_embeddings"] = 128


def _gpt_1(config: Config, rng: Random) -> None:
    for name in ("num_key_value_heads", "intermediate_size"):
        config.pop(name, None)
    config.update(dff=96, n_positions=128) if config["model_type"] == "ctrl" else _opt(config, rng)


def _diffllama(config: Config, rng: Random) -> None:
    # Both halves of the heads share the values.
    config["num_attention_heads"], config["num_key_value_heads"] = rng.choice(((2, 2), (4, 2), (4, 4), (8, 4)))
    config["head_dim"] = rng.choice((4, 8, 16))


def _axk2(config: Config, rng: Random) -> None:
    _axk1(config, rng)
    config.update(index_topk=rng.choice((3, 7, 64)), index_n_heads=rng.choice((1, 4)), index_head_dim=16)
    config.update(gated_norm_rank=rng.choice((3, 5)), qk_rope_head_dim=8, n_group=None, topk_group=None)


def _doge(config: Config, rng: Random) -> None:
    config.update(keep_window_size=rng.choice((3, 7, 64)), is_moe=False, sliding_window=None)


def _hrm_text(config: Config, rng: Random) -> None:
    config.update(num_hidden_layers=rng.choice((1, 2)), H_cycles=rng.choice((1, 2)), L_cycles=rng.choice((1, 2, 3)))
    config.update(num_layers_per_stack=..., num_key_value_heads=...)


def _modernbert_decoder(config: Config, rng: Random) -> None:
    config.update(local_attention=rng.choice((6, 14, 128)), num_key_value_heads=...)


def _no_window(config: Config, _rng: Random) -> None:
    # transformers cannot run this type's windows over a cache.
    config["use_sliding_window"] = False
    config.pop("layer_types", None)


_SPECIAL: dict[str, Callable[[Config, Random], None]] = {
    "gemma": _gemma,
    "gemma2": _needs_window,
    "gemma3_text": _needs_window,
    "cohere2": _needs_window,
    "olmo3": _needs_window,
    "cwm": _needs_window,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "glm4_moe_lite": _mlp_layer_types,
    "kimi_linear": _kimi,
    "jamba": _jamba,
    "bamba": _bamba,
    "falcon_h1": _falcon_h1,
    "granitemoehybrid": _granite_hybrid,
    "nemotron_h": _nemotron_h,
    "minimax": _minimax,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2,
    "gpt2": _gpt,
    "gptj": _gpt,
    "gpt_bigcode": _gpt,
    "qwen3_next": _linear_layers,
    "qwen3_5_text": _linear_layers,
    "qwen3_5_moe_text": _linear_layers,
    "gemma4_text": _gemma4,
    "gpt_oss": _gpt_oss,
    "llama4_text": _llama4,
    "helium": _derived_heads,
    "opt": _opt,
    "qwen2_moe": _no_window,
    "vaultgemma": _needs_window,
    "gpt_neo": _gpt_neo,
    "zamba": _zamba,
    "zamba2": _zamba2,
    "gemma3n_text": _gemma3n,
    "olmo_hybrid": _olmo_hybrid,
    "mamba": _state_space,
    "falcon_mamba": _state_space,
    "mamba2": _state_space,
    "codegen": _gpt,
    "persimmon": _persimmon,
    "dbrx": _dbrx,
    "mimo_v2_flash": _mimo,
    "laguna": _laguna,
    "deepseek_v32": _sparse,
    "glm_moe_dsa": _sparse,
    "exaone_moe": _windowed_experts,
    "cohere2_moe": _windowed_experts,
    "afmoe": _needs_window,
    "hy_v3": _mlp_types,
    "minicpm3": _deepseek_dense,
    "youtu": _deepseek_dense,
    "deepseek_v4": _deepseek_v4,
    "minimax_m3_vl_text": _minimax_m3,
    "bailing_hybrid": _bailing_hybrid,
    "recurrent_gemma": _recurrent_gemma,
    "jetmoe": _jetmoe,
    "granite_swa": _gpt_oss,
    "granitemoe_swa": _gpt_oss,
    "mellum": _listed_kinds,
    "kolibri1": _gpt_oss,
    "flint": _flint,
    "aria_text": _aria,
    "axk1": _axk1,
    "hy_v4": _hy_v4,
    "lfm3": _lfm3,
    "axk2": _axk2,
    "biogpt": _opt,
    "hrm_text": _hrm_text,
    "modernbert-decoder": _modernbert_decoder,
    "ctrl": _gpt_1,
    "diffllama": _diffllama,
    "doge": _doge,
    "xglm": _gpt_1,
}


#: Text decoders that transformers can build and run from such a config.
TEXT_TYPES = (
    "afmoe", "apertus", "arcee", "aria_text", "axk1", "axk2", "bailing_hybrid", "bamba", "biogpt", "bitnet", "bloom",
    "codegen", "cohere", "cohere2", "cohere2_moe", "ctrl", "cwm", "dbrx", "deepseek_v2", "deepseek_v3",
    "deepseek_v32", "deepseek_v4", "diffllama", "doge", "dots1", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe",
    "falcon", "falcon_h1", "falcon_mamba", "flex_olmo", "flint", "gemma", "gemma2", "gemma3_text", "gemma3n_text",
    "gemma4_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt2", "gpt_bigcode", "gpt_neo",
    "gpt_neox", "gpt_oss", "gptj", "granite", "granite_swa", "granitemoe", "granitemoe_swa", "granitemoehybrid",
    "granitemoeshared", "helium", "hrm_text", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3", "hy_v4", "hyperclovax",
    "internlm3", "iquestcoder", "jais2", "jamba", "jetmoe", "kimi_linear", "kolibri1", "laguna", "lfm2", "lfm2_moe",
    "lfm3", "llama", "llama4_text", "mamba", "mamba2", "mellum", "mimo_v2_flash", "minicpm3", "minimax", "minimax_m2",
    "minimax_m3_vl_text", "ministral", "ministral3", "mistral", "mixtral", "modernbert-decoder", "mpt", "nanochat",
    "nemotron", "nemotron_h", "olmo", "olmo2", "olmo3", "olmo_hybrid", "olmoe", "opt", "persimmon", "phi", "phi3",
    "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next",
    "recurrent_gemma", "seed_oss", "smollm3", "solar_open", "stablelm", "starcoder2", "vaultgemma", "xglm", "youtu",
    "zamba", "zamba2",
)  # fmt: skip
