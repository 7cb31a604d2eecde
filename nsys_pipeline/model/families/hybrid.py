"""Decoders in which some or all layers are recurrent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Embedding, Head, Linear, Mlp, Moe, Norm
from nsys_pipeline.model.families.common import (
    LINEAR_OR_FULL,
    Builder,
    Dims,
    layer_kinds,
    per_layer,
    read_dims,
    read_window,
)
from nsys_pipeline.model.families.moe import experts_of, latent_attention, named_kinds, qwen_ffn
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION
from nsys_pipeline.model.recurrent import (
    Projection,
    Recurrent,
    gated_delta_net,
    gated_linear_recurrence,
    kimi_delta_attention,
    lightning_attention,
    mamba1,
    mamba2,
    short_convolution,
)

_LINEAR = ("linear_attention", "mamba", "conv")


def assemble(
    f: Fields, family: str, dims: Dims, layers: Sequence[tuple[str, tuple[Block, ...]]], *, final_norm: bool = True
) -> Architecture:
    """A decoder of these layers, each a label and blocks."""
    after: list[Block] = [Norm("final_norm", dims.width, dims.width)] if final_norm else []
    stack = Stack(
        "decoder",
        group_layers("layers", layers),
        (Embedding("embed", dims.vocab, dims.width, tied=f.flag("tie_embedding", "tie_word_embeddings")),),
        (*after, Head(dims.vocab, dims.width)),
    )
    return Architecture(family=family, decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads)


def _two_norms(width: int) -> tuple[Norm, Norm]:
    return Norm("attention_norm", width, width), Norm("mlp_norm", width, width)


def _attention(dims: Dims, **options: Any) -> Attention:
    return Attention(width=dims.width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim, **options)


def _kinds(f: Fields, depth: int, interval: int) -> list[str]:
    """`layer_types`, or a full layer every `full_attention_interval` layers."""
    step = f.integer("full_attention_interval", default=interval)
    return layer_kinds(f, depth, lambda i: "linear_attention" if (i + 1) % step else "full_attention", LINEAR_OR_FULL)


def delta_net(f: Fields, width: int) -> Recurrent:
    """Qwen's gated delta net with its field names."""
    k_heads, v_heads = f.dim("linear_num_key_heads"), f.dim("linear_num_value_heads")
    f.divides("linear_num_value_heads", v_heads, "linear_num_key_heads", k_heads)
    return gated_delta_net(
        width=width,
        k_heads=k_heads,
        v_heads=v_heads,
        k_dim=f.dim("linear_key_head_dim"),
        v_dim=f.dim("linear_value_head_dim"),
        kernel=f.integer("linear_conv_kernel_dim", default=4),
    )


def qwen3_next(f: Fields) -> Architecture:
    """Three gated delta nets to a gated attention; experts, or for Qwen3.5 dense MLPs, in every layer."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    attention = _attention(dims, q_bias=bias, kv_bias=bias, o_bias=bias, extra_params=dims.qk_norm_per_head, gate=True)
    linear = delta_net(f, dims.width)
    if f.has("num_experts", "num_local_experts"):
        ffn = qwen_ffn(f, dims.width, dims.depth, shared=True)
    else:
        mlp = Mlp(width=dims.width, hidden=f.dim("intermediate_size"))

        def ffn(_index: int) -> tuple[str, Block]:
            return "", mlp

    layers = []
    for index, kind in enumerate(_kinds(f, dims.depth, 4)):
        name, block = ffn(index)
        mixer: Block = linear if kind in _LINEAR else attention
        label = "linear" if kind in _LINEAR else "full"
        layers.append((".".join(filter(None, (label, name))), (*_two_norms(dims.width), mixer, block)))
    return assemble(f, f.model_type, dims, layers)


def kimi_linear(f: Fields) -> Architecture:
    """Kimi delta attention in three of four layers, latent attention in the others; DeepSeek's experts."""
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    dims = Dims(width, depth, heads, heads, f.dim("v_head_dim"), f.dim("vocab_size"))
    nested = f.has("linear_attn_config")
    sub = f.sub("linear_attn_config", model_type="kimi_linear") if nested else f
    linear = kimi_delta_attention(
        width,
        sub.integer("num_heads", default=f.integer("linear_num_heads", default=heads)),
        sub.integer("head_dim", default=f.integer("linear_head_dim", default=128))
        if nested
        else f.integer("linear_head_dim"),
        sub.integer("short_conv_kernel_size", default=f.integer("linear_conv_kernel_dim", default=4)),
    )
    full = set(sub.indices("full_attn_layers") or []) if nested else set()
    # The published configs number layers from one.
    kinds = layer_kinds(
        f,
        depth,
        lambda i: "full_attention" if (i + 1 in full if full else i and i % 4 == 0) else "linear_attention",
        LINEAR_OR_FULL,
    )
    attention = latent_attention(f, width, heads)
    experts, top_k = experts_of(f, "num_experts", "num_local_experts")
    hidden = f.dim("moe_intermediate_size")
    shared = hidden * f.integer("num_shared_experts", "n_shared_experts", default=0, minimum=0)
    moe = Moe(width=width, hidden=hidden, experts=experts, top_k=top_k, shared=shared)
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"))
    first = f.integer("first_k_dense_replace", default=1, minimum=0)
    mlp_kinds = named_kinds(f, "mlp_layer_types", depth, ["dense"] * min(first, depth) + ["sparse"] * depth)
    layers = []
    for kind, mlp_kind in zip(kinds, mlp_kinds, strict=True):
        mixer: Block = linear if kind in _LINEAR else attention
        ffn: Block = moe if mlp_kind == "sparse" else dense
        label = ("linear" if kind in _LINEAR else "full") + (".moe" if mlp_kind == "sparse" else ".dense")
        layers.append((label, (*_two_norms(width), mixer, ffn)))
    # transformers has no tied table for this family, whatever the config says.
    return assemble(f.replaced(tie_word_embeddings=False), "kimi_linear", dims, layers)


def bailing_hybrid(f: Fields) -> Architecture:
    """Ling 3: Kimi delta attention, and latent attention with a gate per head in each `layer_group_size`-th layer."""
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    dims = Dims(width, depth, heads, heads, f.dim("v_head_dim"), f.dim("vocab_size"))
    # transformers saves what it derives: `head_dim` is then the rotary part, and the linear sizes have own fields.
    linear = kimi_delta_attention(
        width,
        f.integer("linear_num_heads", default=heads),
        f.opt_int("linear_head_dim") or f.dim("head_dim"),
        f.integer("linear_conv_kernel_dim", default=f.integer("short_conv_kernel_size", default=4)),
        low_rank=False,
    )
    latent = latent_attention(f, width, heads)
    gate = Linear("attention_gate", heads, width, role=ATTENTION)
    experts, top_k = experts_of(f, "num_experts", "num_local_experts")
    hidden = f.dim("moe_intermediate_size")
    shared = hidden * f.integer("num_shared_experts", "n_shared_experts", default=0, minimum=0)
    moe = Moe(width=width, hidden=hidden, experts=experts, top_k=top_k, shared=shared)
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"))
    group, first = f.integer("layer_group_size"), f.integer("first_k_dense_replace", minimum=0)
    kinds = layer_kinds(f, depth, lambda i: "linear_attention" if (i + 1) % group else "full_attention", LINEAR_OR_FULL)
    mlp_kinds = named_kinds(f, "mlp_layer_types", depth, ["dense"] * min(first, depth) + ["sparse"] * depth)
    layers = []
    for kind, mlp_kind in zip(kinds, mlp_kinds, strict=True):
        mixers: tuple[Block, ...] = (linear,) if kind in _LINEAR else (latent, gate)
        ffn: Block = moe if mlp_kind == "sparse" else dense
        label = ("linear" if kind in _LINEAR else "full") + (".moe" if mlp_kind == "sparse" else ".dense")
        layers.append((label, (*_two_norms(width), *mixers, ffn)))
    # transformers has no tied table for this family, whatever the config says.
    return assemble(f.replaced(tie_word_embeddings=False), "bailing_hybrid", dims, layers)


def recurrent_gemma(f: Fields) -> Architecture:
    """Griffin: two recurrent blocks to a sliding attention, each with an MLP half as wide as the config says."""
    dims = read_dims(f)
    inner = f.opt_int("lru_width") or dims.width
    f.divides("lru_width", inner, "num_attention_heads", dims.heads)
    linear = gated_linear_recurrence(dims.width, inner, dims.heads, f.integer("conv1d_width", default=4))
    bias = f.flag("attention_bias")
    window = f.integer("attention_window_size", default=2048)
    attention = _attention(dims, q_bias=bias, kv_bias=bias, o_bias=True, window=window)
    mlp = Mlp(width=dims.width, hidden=f.dim("intermediate_size") // 2, bias=True)
    pattern = f.items("_block_types", "block_types") or ["recurrent", "recurrent", "attention"]
    if set(pattern) - {"recurrent", "attention"}:
        raise f.wrong("block_types", f"is {pattern!r}; known kinds are recurrent and attention")
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for index in range(dims.depth):
        recurrent = pattern[index % len(pattern)] == "recurrent"
        mixer: Block = linear if recurrent else attention
        layers.append(("recurrent" if recurrent else "sliding", (*_two_norms(dims.width), mixer, mlp)))
    return assemble(f, "recurrent_gemma", dims, layers)


def jamba(f: Fields) -> Architecture:
    """Mamba in seven of eight layers, experts in every other one."""
    dims = read_dims(f)
    rank = f.get("mamba_dt_rank")
    mixer = mamba1(
        width=dims.width,
        inner=f.integer("mamba_expand", default=2) * dims.width,
        state=f.integer("mamba_d_state", default=16),
        kernel=f.integer("mamba_d_conv", default=4),
        rank=-(-dims.width // 16) if rank in (None, "auto") else f.integer("mamba_dt_rank"),
        bias=f.flag("mamba_proj_bias"),
        conv_bias=f.flag("mamba_conv_bias", default=True),
        norms=True,
    )
    attention = _attention(dims)
    experts, top_k = experts_of(f, "num_experts")
    hidden = f.dim("intermediate_size")
    moe, dense = (
        Moe(width=dims.width, hidden=hidden, experts=experts, top_k=top_k),
        Mlp(width=dims.width, hidden=hidden),
    )
    a_period, a_offset = f.integer("attn_layer_period", default=8), f.integer("attn_layer_offset", default=4, minimum=0)
    e_period = f.integer("expert_layer_period", default=2)
    e_offset = f.integer("expert_layer_offset", default=1, minimum=0)
    layers = []
    for index in range(dims.depth):
        full = index % a_period == a_offset
        sparse = experts > 1 and index % e_period == e_offset
        label = ("full" if full else "mamba") + (".moe" if sparse else ".dense")
        mixing: Block = attention if full else mixer
        feeding: Block = moe if sparse else dense
        layers.append((label, (*_two_norms(dims.width), mixing, feeding)))
    return assemble(f, "jamba", dims, layers)


def _mamba_only(f: Fields, family: str, mixer: Recurrent) -> Architecture:
    width, depth, vocab = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("vocab_size")
    dims = Dims(width, depth, 0, 0, 0, vocab)
    return assemble(f, family, dims, [("", (Norm("norm", width, width), mixer))] * depth)


def mamba(f: Fields) -> Architecture:
    """Mamba 1 in every layer, no MLP."""
    width = f.dim("hidden_size")
    rank = f.get("time_step_rank")
    mixer = mamba1(
        width=width,
        inner=int(f.ratio("expand", default=2) * width),
        state=f.dim("state_size"),
        kernel=f.integer("conv_kernel", default=4),
        rank=-(-width // 16) if rank in (None, "auto") else f.integer("time_step_rank"),
        bias=f.flag("use_bias"),
        conv_bias=f.flag("use_conv_bias", default=True),
    )
    return _mamba_only(f, f.model_type, mixer)


def mamba2_model(f: Fields) -> Architecture:
    """Mamba 2 in every layer, no MLP."""
    width, heads, head_dim = f.dim("hidden_size"), f.dim("num_heads"), f.dim("head_dim")
    if heads * head_dim != int(f.ratio("expand", default=2) * width):
        raise f.wrong("num_heads", f"= {heads} times head_dim = {head_dim} is not expand times hidden_size")
    mixer = mamba2(
        width=width,
        heads=heads,
        head_dim=head_dim,
        state=f.dim("state_size"),
        groups=f.integer("n_groups", default=1),
        kernel=f.integer("conv_kernel", default=4),
        bias=f.flag("use_bias"),
        conv_bias=f.flag("use_conv_bias", default=True),
    )
    return _mamba_only(f, "mamba2", mixer)


def _mamba2_mixer(f: Fields, width: int, inner: int, **options: Any) -> Recurrent:
    """Mamba 2 with the field names of Bamba, Falcon-H1 and Granite."""
    heads = f.dim("mamba_n_heads")
    head_dim = f.get("mamba_d_head")
    size = f.divides("mamba_expand x hidden_size", inner, "mamba_n_heads", heads)
    if head_dim not in (None, "auto") and f.integer("mamba_d_head") != size:
        raise f.wrong("mamba_d_head", f"is {head_dim}, but {inner} channels in {heads} heads make {size}")
    return mamba2(
        width=width,
        heads=heads,
        head_dim=size,
        state=f.integer("mamba_d_state"),
        groups=f.integer("mamba_n_groups", default=1),
        kernel=f.integer("mamba_d_conv", default=4),
        conv_bias=f.flag("mamba_conv_bias", default=True),
        **options,
    )


def bamba(f: Fields) -> Architecture:
    """Mamba 2 with a few attention layers; a dense MLP in every layer."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    mixer = _mamba2_mixer(
        f, dims.width, f.integer("mamba_expand", default=2) * dims.width, bias=f.flag("mamba_proj_bias")
    )
    attention = _attention(dims, q_bias=bias, kv_bias=bias, o_bias=bias)
    mlp = Mlp(width=dims.width, hidden=f.dim("intermediate_size"), bias=f.flag("mlp_bias"))
    full = set(f.indices("attn_layer_indices") or [])
    layers: list[tuple[str, tuple[Block, ...]]] = [
        ("full" if i in full else "mamba", (*_two_norms(dims.width), attention if i in full else mixer, mlp))
        for i in range(dims.depth)
    ]
    return assemble(f, "bamba", dims, layers)


def falcon_h1(f: Fields) -> Architecture:
    """Attention and Mamba 2 side by side in every layer, then a dense MLP."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    inner = f.opt_int("mamba_d_ssm") or f.integer("mamba_expand", default=2) * dims.width
    mixer = _mamba2_mixer(
        f,
        dims.width,
        inner,
        bias=f.flag("mamba_proj_bias"),
        norm=f.flag("mamba_rms_norm"),
        out_bias=f.flag("projectors_bias"),
    )
    attention = _attention(dims, q_bias=bias, kv_bias=bias, o_bias=bias)
    mlp = Mlp(width=dims.width, hidden=f.dim("intermediate_size"), bias=f.flag("mlp_bias"))
    return assemble(f, "falcon_h1", dims, [("hybrid", (*_two_norms(dims.width), mixer, attention, mlp))] * dims.depth)


def granitemoehybrid(f: Fields) -> Architecture:
    """Mamba 2 or attention, then experts (where there are any) beside a shared MLP."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    mixer = _mamba2_mixer(
        f, dims.width, f.integer("mamba_expand", default=2) * dims.width, bias=f.flag("mamba_proj_bias")
    )
    attention = _attention(dims, q_bias=bias, kv_bias=bias, o_bias=bias)
    shared = f.dim("shared_intermediate_size")
    ffn: Block = Mlp(width=dims.width, hidden=shared)
    if f.opt_int("num_local_experts"):
        experts, top_k = experts_of(f, "num_local_experts")
        ffn = Moe(width=dims.width, hidden=f.dim("intermediate_size"), experts=experts, top_k=top_k, shared=shared)
    kinds = layer_kinds(f, dims.depth, lambda _: "linear_attention", LINEAR_OR_FULL)
    layers = []
    for kind in kinds:
        recurrent = kind == "linear_attention"
        mixing: Block = mixer if recurrent else attention
        layers.append(("mamba" if recurrent else "full", (*_two_norms(dims.width), mixing, ffn)))
    return assemble(f, "granitemoehybrid", dims, layers)


_PATTERN = {"M": "mamba", "*": "full", "-": "mlp", "E": "moe"}
_NEMOTRON = {"linear_attention": "mamba", "full_attention": "full", "attention": "full", "mamba": "mamba"}


def nemotron_h(f: Fields) -> Architecture:
    """One block per layer: Mamba 2, attention, a plain MLP or experts, as a pattern of letters says."""
    pattern = f.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        kinds = [_PATTERN.get(letter, letter) for letter in pattern]
    else:
        kinds = [_NEMOTRON.get(str(kind), str(kind)) for kind in f.items("layers_block_type", "layer_types") or []]
    if not kinds:
        raise f.missing("hybrid_override_pattern")
    width, heads = f.dim("hidden_size"), f.dim("num_attention_heads")
    kv_heads = f.integer("num_key_value_heads", default=heads)
    dims = Dims(width, len(kinds), heads, kv_heads, f.dim("head_dim", "attention_head_dim"), f.dim("vocab_size"))
    blocks: dict[str, Block] = {"full": _attention(dims)}
    if "mamba" in kinds:
        blocks["mamba"] = mamba2(
            width=width,
            heads=f.dim("mamba_num_heads"),
            head_dim=f.dim("mamba_head_dim"),
            state=f.dim("ssm_state_size"),
            groups=f.dim("n_groups", "mamba_n_groups"),
            kernel=f.integer("conv_kernel", "mamba_d_conv", default=4),
            bias=f.flag("use_bias"),
            conv_bias=f.flag("use_conv_bias", "mamba_conv_bias", default=True),
        )
    if "mlp" in kinds:
        blocks["mlp"] = Mlp(width=width, hidden=f.dim("intermediate_size"), gated=False, bias=f.flag("mlp_bias"))
    if "moe" in kinds:
        experts, top_k = experts_of(f, "n_routed_experts")
        shared = f.integer("moe_shared_expert_intermediate_size", default=0, minimum=0)
        blocks["moe"] = Moe(
            width=width,
            hidden=f.dim("moe_intermediate_size"),
            experts=experts,
            top_k=top_k,
            gated=False,
            shared=shared,
            shared_bias=f.flag("mlp_bias"),
            latent=f.opt_int("moe_latent_size"),
        )
    unknown = sorted(set(kinds) - set(blocks))
    if unknown:
        raise f.wrong("hybrid_override_pattern", f"names layers that are not known: {', '.join(unknown)}")
    norm = Norm("norm", width, width)
    # transformers has no tied table for this family, whatever the config says.
    return assemble(
        f.replaced(tie_word_embeddings=False), "nemotron_h", dims, [(kind, (norm, blocks[kind])) for kind in kinds]
    )


def minimax(f: Fields) -> Architecture:
    """Lightning attention with softmax attention in between; Mixtral's experts (MiniMax-Text-01)."""
    dims = read_dims(f)
    experts, top_k = experts_of(f, "num_local_experts")
    moe = Moe(width=dims.width, hidden=f.dim("intermediate_size"), experts=experts, top_k=top_k)
    linear = lightning_attention(dims.width, dims.heads, dims.head_dim)
    attention = _attention(dims, window=read_window(f), rolling=False)
    legacy = per_layer(f, "attn_type_list", dims.depth)
    if legacy is not None:
        kinds = ["full_attention" if kind else "linear_attention" for kind in legacy]
    else:
        kinds = layer_kinds(
            f, dims.depth, lambda i: "full_attention" if (i + 1) % 2 else "linear_attention", LINEAR_OR_FULL
        )
    layers = []
    for kind in kinds:
        mixing: Block = linear if kind in _LINEAR else attention
        layers.append(("linear" if kind in _LINEAR else "full", (*_two_norms(dims.width), mixing, moe)))
    return assemble(f, "minimax", dims, layers)


def lfm2(f: Fields) -> Architecture:
    """Short convolutions with attention in between; LFM2-MoE has experts after its first dense layers."""
    dims = read_dims(f)
    conv = short_convolution(dims.width, f.integer("conv_L_cache", default=3), bias=f.flag("conv_bias"))
    attention = _attention(dims, extra_params=dims.qk_norm_per_head)
    dense = Mlp(width=dims.width, hidden=_lfm2_hidden(f))
    moe: Block | None = None
    first = dims.depth
    if f.has("num_experts"):
        experts, top_k = experts_of(f, "num_experts")
        moe = Moe(width=dims.width, hidden=f.dim("moe_intermediate_size"), experts=experts, top_k=top_k)
        first = f.integer("num_dense_layers", default=0, minimum=0)
    indices = f.indices("full_attn_idxs")
    kinds = layer_kinds(
        f,
        dims.depth,
        lambda i: "full_attention" if indices is None or i in indices else "conv",
        ("full_attention", "conv"),
    )
    layers = []
    for index, kind in enumerate(kinds):
        mixing: Block = conv if kind == "conv" else attention
        feeding: Block = moe if moe is not None and index >= first else dense
        label = ("conv" if kind == "conv" else "full") + (".moe" if feeding is moe else "")
        layers.append((label, (*_two_norms(dims.width), mixing, feeding)))
    return assemble(f, f.model_type, dims, layers)


def lfm3(f: Fields) -> Architecture:
    """LFM2 with full and sliding attention in turn, a gate per head, and norms after the blocks too."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    width = dims.width
    conv = short_convolution(width, f.integer("conv_L_cache", default=7), bias=f.flag("conv_bias"))
    window = read_window(f)
    options = {"q_bias": bias, "kv_bias": bias, "o_bias": bias, "extra_params": dims.qk_norm_per_head}
    gate = (Linear("attention_gate", dims.heads, width, role=ATTENTION),) if f.flag("use_attention_gate") else ()
    mixers: dict[str, tuple[Block, ...]] = {
        "conv": (conv,),
        "full_attention": (_attention(dims, **options), *gate),
        "sliding_attention": (_attention(dims, window=window, **options), *gate),
    }
    norms = tuple(Norm(f"norm_{number}", width, width) for number in range(4 if f.flag("use_sandwich_norm") else 2))
    mlp = Mlp(width=width, hidden=f.dim("intermediate_size"))
    other = {2: "full_attention", 0: "sliding_attention"}
    kinds = layer_kinds(f, dims.depth, lambda i: other.get(i % 4, "conv") if i else "conv", mixers)
    layers: list[tuple[str, tuple[Block, ...]]] = [
        (kind.removesuffix("_attention"), (*norms, *mixers[kind], mlp)) for kind in kinds
    ]
    return assemble(f, "lfm3", dims, layers)


def _lfm2_hidden(f: Fields) -> int:
    """LFM2 scales its MLP: two thirds, times a multiplier, rounded up."""
    hidden = f.integer("block_ff_dim", "intermediate_size") if f.has("block_ff_dim") else f.dim("intermediate_size")
    if f.model_type != "lfm2" or not f.flag("block_auto_adjust_ff_dim", default=True):
        return hidden
    hidden = int(2 * hidden / 3)
    multiplier = f.get("block_ffn_dim_multiplier")
    if multiplier is not None:
        hidden = int(f.ratio("block_ffn_dim_multiplier") * hidden)
        multiple = f.integer("block_multiple_of", default=256)
        hidden = multiple * -(-hidden // multiple)
    return hidden


def olmo_hybrid(f: Fields) -> Architecture:
    """Three gated delta nets to an attention layer of OLMo 3, each with a dense MLP."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    k_heads = f.opt_int("linear_num_key_heads") or dims.heads
    v_heads = f.opt_int("linear_num_value_heads") or dims.heads
    f.divides("linear_num_value_heads", v_heads, "linear_num_key_heads", k_heads)
    k_dim = f.opt_int("linear_key_head_dim") or int(0.75 * dims.width / k_heads)
    linear = gated_delta_net(
        width=dims.width,
        k_heads=k_heads,
        v_heads=v_heads,
        k_dim=k_dim,
        v_dim=f.opt_int("linear_value_head_dim") or 2 * k_dim,
        kernel=f.integer("linear_conv_kernel_dim", default=4),
    )
    attention = _attention(dims, q_bias=bias, kv_bias=bias, o_bias=bias, extra_params=dims.qk_norm_full)
    mlp = Mlp(width=dims.width, hidden=f.dim("intermediate_size"))
    kinds = layer_kinds(f, dims.depth, lambda i: "full_attention" if i % 4 == 3 else "linear_attention", LINEAR_OR_FULL)
    if f.items("layer_types") is None and "full_attention" not in kinds:
        kinds[-1] = "full_attention"
    layers = []
    for kind in kinds:
        mixer: Block = linear if kind in _LINEAR else attention
        layers.append(("linear" if kind in _LINEAR else "full", (*_two_norms(dims.width), mixer, mlp)))
    return assemble(f, "olmo_hybrid", dims, layers)


def rwkv(f: Fields) -> Architecture:
    """RWKV-4: a time mix whose recurrence is elementwise, and a channel mix with a gate (arXiv 2305.13048)."""
    width, depth, vocab = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("vocab_size")
    inner = f.opt_int("attention_hidden_size") or width
    hidden = f.opt_int("intermediate_size") or 4 * width
    time_mix = Recurrent(
        projections=(Projection("time_mix_rkv", 3 * inner, width),),
        out=Projection("time_mix_output", width, inner),
        conv_channels=0,
        conv_kernel=1,
        state=3 * inner,  # numerator, denominator and running maximum per channel
        last_inputs=width,
        small_params=2 * inner + 3 * width,
    )
    channel_mix = Recurrent(
        projections=(
            Projection("channel_mix_key", hidden, width),
            Projection("channel_mix_receptance", width, width),
        ),
        out=Projection("channel_mix_value", width, hidden),
        conv_channels=0,
        conv_kernel=1,
        last_inputs=width,
        small_params=2 * width,
    )
    norms = (Norm("ln1", width, 2 * width), Norm("ln2", width, 2 * width))
    stack = Stack(
        "decoder",
        group_layers("layers", [("", (*norms, time_mix, channel_mix))] * depth),
        (Embedding("embed", vocab, width, tied=f.flag("tie_word_embeddings")), Norm("pre_norm", width, 2 * width)),
        (Norm("final_norm", width, 2 * width), Head(vocab, width)),
    )
    return Architecture(family="rwkv", decoder=stack)


HYBRID: dict[str, Builder] = {
    "qwen3_next": qwen3_next,
    "qwen3_5_text": qwen3_next,
    "qwen3_5_moe_text": qwen3_next,
    "kimi_linear": kimi_linear,
    "bailing_hybrid": bailing_hybrid,
    "recurrent_gemma": recurrent_gemma,
    "jamba": jamba,
    "mamba": mamba,
    "falcon_mamba": mamba,
    "mamba2": mamba2_model,
    "bamba": bamba,
    "falcon_h1": falcon_h1,
    "granitemoehybrid": granitemoehybrid,
    "nemotron_h": nemotron_h,
    "minimax": minimax,
    "olmo_hybrid": olmo_hybrid,
    "rwkv": rwkv,
    "lfm2": lfm2,
    "lfm2_moe": lfm2,
    "lfm3": lfm3,
}
