"""Mixture-of-experts decoders, with grouped-query or latent attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import (
    Attention,
    Block,
    LatentAttention,
    Linear,
    Mlp,
    Moe,
    MoeByModality,
    Norm,
)
from nsys_pipeline.model.families.common import (
    Builder,
    DecoderSpec,
    Dims,
    Verified,
    check_kinds,
    every,
    layer_kinds,
    lettered_windows,
    per_layer,
    plain_decoder,
    read_dims,
    read_window,
    sliding,
    uniform,
)
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION
from nsys_pipeline.model.sparse_attention import SparseLatentAttention

Ffn = Callable[[int], tuple[str, Block]]


def experts_of(f: Fields, *names: str, picked: str = "num_experts_per_tok") -> tuple[int, int]:
    """(experts, top k). Raises ModelError where more experts are picked than there are, or names disagree."""
    experts = f.agreed_dim(*names)
    top_k = f.dim(picked)
    if top_k > experts:
        raise f.wrong(picked, f"is {top_k}, but there are {experts} experts")
    return experts, top_k


def _moe_from(first_dense: int, dense: Mlp | None, moe: Moe) -> Ffn:
    """Dense layers first, then experts."""
    return lambda index: ("dense", dense) if dense is not None and index < first_dense else ("moe", moe)


def mixtral(f: Fields) -> Architecture:
    """Experts in every layer, no shared one."""
    dims = read_dims(f)
    experts, top_k = experts_of(f, "num_local_experts", "num_experts")
    moe = Moe(width=dims.width, hidden=f.dim("intermediate_size"), experts=experts, top_k=top_k)
    return DecoderSpec(
        dims=dims,
        windows=uniform(dims.depth, read_window(f)),
        ffn=lambda _: ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("mixtral")


def phimoe(f: Fields) -> Architecture:
    """Mixtral with LayerNorm and biases on attention and head; its router always picks two experts."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, _ = experts_of(f, "num_local_experts")
    moe = Moe(width=dims.width, hidden=f.dim("intermediate_size"), experts=experts, top_k=min(2, experts))
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        norm="layer",
        windows=uniform(dims.depth, read_window(f)),
        ffn=lambda _: ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
        head_bias=f.flag("lm_head_bias"),
    ).build("phimoe")


def qwen_ffn(f: Fields, width: int, depth: int, *, shared: bool) -> Ffn:
    """Experts in every `decoder_sparse_step`-th layer that is not in `mlp_only_layers`; dense MLPs elsewhere."""
    experts, top_k = experts_of(f, "num_experts", "num_local_experts")
    moe = Moe(
        width=width,
        hidden=f.dim("moe_intermediate_size"),
        experts=experts,
        top_k=top_k,
        shared=f.dim("shared_expert_intermediate_size", minimum=0) if shared else 0,
        shared_gate=shared,
    )
    step = f.integer("decoder_sparse_step", default=1)
    only = set(f.indices("mlp_only_layers") or [])
    sparse = [index not in only and (index + 1) % step == 0 for index in range(depth)]
    if all(sparse):
        return lambda _: ("moe", moe)
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"))
    return lambda index: ("moe", moe) if sparse[index] else ("dense", dense)


def qwen2_moe(f: Fields) -> Architecture:
    """Routed experts beside a gated shared one of its own size; biases on Q, K, V."""
    dims = read_dims(f)
    windows = uniform(dims.depth, None)
    check_kinds(f, dims.depth, "full_attention", "sliding_attention")
    if f.flag("use_sliding_window"):
        last = f.integer("max_window_layers", default=dims.depth, minimum=0)
        windows = sliding(f, dims.depth, lambda index: bool((index + 1) % 2) and index < last)
    return DecoderSpec(
        dims=dims,
        q_bias=f.flag("qkv_bias", default=True),
        windows=windows,
        ffn=qwen_ffn(f, dims.width, dims.depth, shared=True),
        tied=f.flag("tie_word_embeddings"),
    ).build("qwen2_moe")


def qwen3_moe(f: Fields) -> Architecture:
    """Many small experts, no shared one; norms on each head of Q and K."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    window = read_window(f) if f.flag("use_sliding_window") else None
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head,
        windows=uniform(dims.depth, window),
        ffn=qwen_ffn(f, dims.width, dims.depth, shared=False),
        tied=f.flag("tie_word_embeddings"),
    ).build("qwen3_moe")


def mellum(f: Fields) -> Architecture:
    """Qwen3-MoE whose layers slide, and are dense, as the config lists them."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, top_k = experts_of(f, "num_experts", "num_local_experts")
    moe = Moe(width=dims.width, hidden=f.dim("moe_intermediate_size"), experts=experts, top_k=top_k)
    dense = Mlp(width=dims.width, hidden=f.dim("intermediate_size"))
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head,
        windows=sliding(f, dims.depth, lambda _: False),
        ffn=_by_kind(mlp_kinds(f, dims.depth, 0), dense, moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("mellum")


def flint(f: Fields) -> Architecture:
    """Qwen3-MoE with sinks and a shared expert; after two full, dense layers three sliding ones to a full one."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, top_k = experts_of(f, "num_experts")
    moe = Moe(
        width=dims.width,
        hidden=f.dim("moe_intermediate_size"),
        experts=experts,
        top_k=top_k,
        shared=f.dim("shared_expert_intermediate_size"),
    )
    dense = Mlp(width=dims.width, hidden=f.dim("intermediate_size"))
    listed, step = f.indices("mlp_only_layers"), f.integer("decoder_sparse_step", default=1)
    only = [0, 1] if listed is None else listed
    last = dims.depth - 1
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head,
        sinks=True,
        windows=sliding(f, dims.depth, lambda index: index >= 2 and index % 4 != 1 and index != last),
        ffn=lambda index: ("dense", dense) if index in only or (index + 1) % step else ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("flint")


def kolibri1(f: Fields) -> Architecture:
    """Experts beside a shared one in every layer; four norms; four sliding layers to a full one."""
    dims = read_dims(f)
    experts, top_k = experts_of(f, "num_experts")
    moe = Moe(
        width=dims.width,
        hidden=f.dim("moe_intermediate_size"),
        experts=experts,
        top_k=top_k,
        shared=f.dim("shared_expert_intermediate_size"),
    )
    return DecoderSpec(
        dims=dims,
        norms=4,
        qk_norm=dims.qk_norm_per_head,
        windows=sliding(f, dims.depth, lambda index: (index + 1) % 5 != 0),
        ffn=lambda _: ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("kolibri1")


def aria_text(f: Fields) -> Architecture:
    """Llama with experts in every layer beside shared ones."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, top_k = experts_of(f, "moe_num_experts", picked="moe_topk")
    hidden, shared = f.dim("intermediate_size"), f.integer("moe_num_shared_experts", default=0, minimum=0)
    moe = Moe(
        width=dims.width, hidden=hidden, experts=experts, top_k=top_k, shared=hidden * shared,
        shared_bias=f.flag("mlp_bias"),
    )  # fmt: skip
    return DecoderSpec(
        dims=dims, q_bias=bias, o_bias=bias, ffn=lambda _: ("moe", moe), tied=f.flag("tie_word_embeddings")
    ).build("aria_text")


def olmoe(f: Fields) -> Architecture:
    """OLMo with experts in every layer; norms over the whole of Q and K."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, top_k = experts_of(f, "num_experts")
    moe = Moe(width=dims.width, hidden=f.dim("intermediate_size"), experts=experts, top_k=top_k)
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_full,
        ffn=lambda _: ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("olmoe")


def granitemoe(f: Fields) -> Architecture:
    """Granite with experts in every layer; the sliding one has sinks, and one full layer to three sliding ones."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, top_k = experts_of(f, "num_local_experts")
    moe = Moe(
        width=dims.width,
        hidden=f.dim("intermediate_size"),
        experts=experts,
        top_k=top_k,
        shared=f.opt_int("shared_intermediate_size") or 0,
    )
    swa = f.model_type == "granitemoe_swa"
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        sinks=swa,
        windows=sliding(f, dims.depth, lambda index: index % 4 != 0) if swa else None,
        ffn=lambda _: ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build(f.model_type)


def deepseek_ffn(f: Fields, width: int) -> Ffn:
    """`first_k_dense_replace` dense layers, then routed experts beside `n_shared_experts` fused into one MLP."""
    experts, top_k = experts_of(f, "n_routed_experts", "num_local_experts")
    hidden = f.dim("moe_intermediate_size")
    bias = f.flag("mlp_bias") and f.model_type in ("deepseek_v2", "deepseek_ocr2_text", "unlimited_ocr_text")
    moe = Moe(
        width=width,
        hidden=hidden,
        experts=experts,
        top_k=top_k,
        shared=hidden * f.integer("n_shared_experts", default=0, minimum=0),
        shared_bias=bias,
    )
    first = f.integer("first_k_dense_replace", default=0, minimum=0)
    if not first and not f.has("mlp_layer_types"):
        return lambda _: ("moe", moe)
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"), bias=bias)
    return _by_kind(mlp_kinds(f, f.dim("num_hidden_layers"), first), dense, moe)


def latent_attention(f: Fields, width: int, heads: int) -> LatentAttention:
    """Multi-head latent attention with DeepSeek's field names."""
    return LatentAttention(
        width=width,
        heads=heads,
        q_rank=f.opt_int("q_lora_rank"),
        kv_rank=f.dim("kv_lora_rank"),
        nope_dim=f.dim("qk_nope_head_dim"),
        rope_dim=f.dim("qk_rope_head_dim"),
        value_dim=f.dim("v_head_dim"),
        bias=f.flag("attention_bias"),
    )


def latent_decoder(f: Fields, ffn: Ffn, family: str) -> Architecture:
    """A decoder with multi-head latent attention in every layer."""
    width, heads, depth, vocab = (
        f.dim("hidden_size"),
        f.dim("num_attention_heads"),
        f.dim("num_hidden_layers"),
        f.dim("vocab_size"),
    )
    attention = latent_attention(f, width, heads)
    norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
    layers = []
    for index in range(depth):
        name, block = ffn(index)
        layers.append((name, (*norms, attention, block)))
    return plain_decoder(f, family, layers, vocab=vocab, width=width, heads=heads, kv_heads=heads)


def deepseek(f: Fields) -> Architecture:
    """DeepSeek-V2 and V3: latent attention, shared and routed experts, dense layers first.

    Without latents (``use_mla`` false, as in DeepSeek-OCR and DeepSeek-MoE) it is multi-head attention.
    """
    if not f.flag("use_mla", default=True) or f.opt_int("kv_lora_rank") is None:
        dims = read_dims(f)
        return DecoderSpec(dims=dims, ffn=deepseek_ffn(f, dims.width), tied=f.flag("tie_word_embeddings")).build(
            f.model_type
        )
    return latent_decoder(f, deepseek_ffn(f, f.dim("hidden_size")), f.model_type)


def glm4_moe_lite(f: Fields) -> Architecture:
    """DeepSeek's layers with `mlp_layer_types`; one dense layer first unless it says otherwise."""
    width, depth = f.dim("hidden_size"), f.dim("num_hidden_layers")
    kinds = mlp_kinds(f, depth, 1)
    experts, top_k = experts_of(f, "n_routed_experts")
    hidden = f.dim("moe_intermediate_size")
    shared = hidden * f.integer("n_shared_experts", default=0, minimum=0)
    moe = Moe(width=width, hidden=hidden, experts=experts, top_k=top_k, shared=shared)
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"))
    return latent_decoder(f, lambda i: ("moe", moe) if kinds[i] == "sparse" else ("dense", dense), "glm4_moe_lite")


def glm4_moe(f: Fields) -> Architecture:
    """GLM-4.5: DeepSeek's experts under grouped-query attention."""
    dims = read_dims(f)
    return DecoderSpec(
        dims=dims,
        q_bias=f.flag("attention_bias"),
        qk_norm=dims.qk_norm_per_head if f.flag("use_qk_norm") else 0,
        ffn=deepseek_ffn(f, dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("glm4_moe")


def _spelled_frequency(f: Fields, depth: int, first: int) -> Fields:
    """The config with `mlp_layer_types`: experts in every `moe_layer_freq`-th layer from `first` on."""
    step = f.integer("moe_layer_freq", default=1)
    spelled = ["sparse" if index >= first and index % step == 0 else "dense" for index in range(depth)]
    return f.replaced(first_k_dense_replace=0, mlp_layer_types=named_kinds(f, "mlp_layer_types", depth, spelled))


def axk1(f: Fields) -> Architecture:
    """DeepSeek-V3 with a norm on what experts add."""
    width, depth = f.dim("hidden_size"), f.dim("num_hidden_layers")
    moe_f = _spelled_frequency(f, depth, f.integer("first_k_dense_replace", default=1, minimum=0))
    plain = latent_decoder(f, deepseek_ffn(moe_f, width), "axk1")
    assert plain.decoder is not None  # noqa: S101 - it has just been built
    layers = tuple(
        attrs.evolve(group, blocks=(*group.blocks, Norm("moe_norm", width, width)))
        if isinstance(group.blocks[-1], Moe)
        else group
        for group in plain.decoder.layers
    )
    return attrs.evolve(plain, decoder=attrs.evolve(plain.decoder, layers=layers))


def solar_open(f: Fields) -> Architecture:
    """GLM-4.5 without dense layers."""
    dims = read_dims(f)
    return DecoderSpec(
        dims=dims,
        q_bias=f.flag("attention_bias"),
        ffn=deepseek_ffn(f, dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("solar_open")


def dots1(f: Fields) -> Architecture:
    """DeepSeek's experts under multi-head attention with norms on each head of Q and K."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    first = f.integer("max_window_layers", default=dims.depth, minimum=0)
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head,
        windows=sliding(f, dims.depth, lambda index: index >= first),
        ffn=deepseek_ffn(f, dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("dots1")


def gpt_oss(f: Fields) -> Architecture:
    """Every other layer slides over 128 tokens; attention sinks; biases everywhere, also in router and experts."""
    dims, bias = read_dims(f), f.flag("attention_bias", default=True)
    experts, top_k = experts_of(f, "num_local_experts", "num_experts")
    moe = Moe(
        width=dims.width,
        hidden=f.dim("intermediate_size"),
        experts=experts,
        top_k=top_k,
        bias=True,
        router_bias=experts,
    )
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        sinks=True,
        windows=sliding(f, dims.depth, every(f, dims.depth, 2)),
        ffn=lambda _: ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("gpt_oss")


def llama4_text(f: Fields) -> Architecture:
    """Three chunked layers to a full one; experts in some layers beside a shared expert of the same size."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, top_k = experts_of(f, "num_local_experts")
    hidden = f.dim("intermediate_size")
    moe = Moe(width=dims.width, hidden=hidden, experts=experts, top_k=top_k, shared=hidden, dense_executed=True)
    step = f.integer("interleave_moe_layer_step", default=1)
    sparse = f.indices("moe_layers")
    if sparse is None:
        sparse = list(range(step - 1, dims.depth, step))
    dense = Mlp(width=dims.width, hidden=f.integer("intermediate_size_mlp", default=hidden))
    # Layers without rotary positions attend to everything, the others to their own chunk.
    interval = f.integer("no_rope_layer_interval", default=4)
    rope = per_layer(f, "no_rope_layers", dims.depth) or [int((i + 1) % interval != 0) for i in range(dims.depth)]
    kinds = layer_kinds(
        f,
        dims.depth,
        lambda index: "chunked_attention" if rope[index] else "full_attention",
        ("full_attention", "chunked_attention"),
    )
    chunk = f.opt_int("attention_chunk_size")
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        chunks=[chunk if kind == "chunked_attention" else None for kind in kinds],
        ffn=lambda index: ("moe", moe) if index in sparse else ("dense", dense),
        tied=f.flag("tie_word_embeddings"),
    ).build("llama4")


def minimax_m2(f: Fields) -> Architecture:
    """Experts in every layer; norms over the whole of Q and K."""
    dims = read_dims(f)
    experts, top_k = experts_of(f, "num_local_experts", "num_experts")
    moe = Moe(width=dims.width, hidden=f.dim("intermediate_size"), experts=experts, top_k=top_k)
    return DecoderSpec(
        dims=dims,
        qk_norm=dims.qk_norm_full,
        ffn=lambda _: ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("minimax_m2")


def ernie4_5_moe(f: Fields) -> Architecture:
    """Experts in every `moe_layer_interval`-th layer of a range, beside shared ones."""
    dims, bias = read_dims(f), f.flag("use_bias")
    experts, top_k = f.dim("moe_num_experts", "num_experts"), f.dim("moe_k", "num_experts_per_tok")
    hidden = f.dim("moe_intermediate_size")
    moe = Moe(
        width=dims.width,
        hidden=hidden,
        experts=experts,
        top_k=top_k,
        shared=hidden * f.integer("moe_num_shared_experts", default=0, minimum=0),
        shared_bias=bias,
        router_bias=experts,
    )
    dense = Mlp(width=dims.width, hidden=f.dim("intermediate_size"), bias=bias)
    first = f.integer("moe_layer_start_index", default=0, minimum=0)
    end = f.integer("moe_layer_end_index", default=-1, minimum=-1)
    last = dims.depth - 1 if end == -1 else end
    step = f.integer("moe_layer_interval", default=1)
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        ffn=lambda i: ("moe", moe) if (i + 1) % step == 0 and first <= i <= last else ("dense", dense),
        tied=f.flag("tie_word_embeddings"),
        head_bias=bias,
    ).build("ernie4_5_moe")


def ernie4_5_vl_moe(f: Fields) -> Architecture:
    """Two sets of experts of different sizes, of which text goes through the first and images through the second.

    Checkpoints with code of their own list the first and last layer, and the number, of each set.
    """
    dims, bias = read_dims(f), f.flag("use_bias")
    experts, top_k = _first_value(f, "moe_num_experts", "num_experts"), f.dim("moe_k", "num_experts_per_tok")
    sizes = f.indices("moe_intermediate_size")
    if sizes is None or len(sizes) != 2 or 0 in sizes:
        raise f.wrong("moe_intermediate_size", "must list the sizes of the experts for text and for images")
    text = Moe(
        width=dims.width,
        hidden=sizes[0],
        experts=experts,
        top_k=top_k,
        shared=sizes[0] * f.integer("moe_num_shared_experts", default=0, minimum=0),
        shared_bias=bias,
        router_bias=experts,
    )
    images = Moe(width=dims.width, hidden=sizes[1], experts=experts, top_k=top_k, router_bias=experts)
    dense = Mlp(width=dims.width, hidden=f.dim("intermediate_size"), bias=bias)
    first = _first_value(f, "moe_layer_start_index", minimum=0) if f.has("moe_layer_start_index") else 1
    kinds = mlp_kinds(f, dims.depth, first)
    spec = DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        ffn=_by_kind(kinds, dense, text),
        tied=f.flag("tie_word_embeddings"),
    )

    # Tokens of images have experts of their own, and are masked as text is.
    def with_images(block: Block) -> Block:
        if isinstance(block, Moe):
            return MoeByModality(blocks=(block, images))
        return attrs.evolve(block, images="causal") if isinstance(block, Attention) else block

    layers = [(label, tuple(map(with_images, blocks))) for label, blocks in map(spec.layer, range(dims.depth))]
    return plain_decoder(
        f, "ernie4_5_vl_moe", layers, vocab=dims.vocab, width=dims.width, heads=dims.heads, kv_heads=dims.kv_heads
    )


def _first_value(f: Fields, *names: str, minimum: int = 1) -> int:
    """A number, or the first of a list of them."""
    value = f.get(*names)
    return f.checked(names[0], value[0] if isinstance(value, list) and value else value, minimum)


def hunyuan_moe(f: Fields) -> Architecture:
    """Experts in every layer beside one shared expert of the same size; norms on each head of Q and K."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts = _one_value(f, "num_experts")
    top_k = _one_value(f, "moe_topk")
    moe = Moe(
        width=dims.width,
        hidden=f.dim("intermediate_size"),
        experts=experts,
        top_k=top_k,
        shared=f.dim("intermediate_size"),
    )
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head,
        ffn=lambda _: ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("hunyuan_v1_moe")


def _one_value(f: Fields, name: str) -> int:
    """A size that may be spelled as a list of equal values, one per layer."""
    value = f.get(name)
    if isinstance(value, list):
        if not value or any(item != value[0] for item in value):
            raise f.wrong(name, "differs between layers, which is not supported")
        return f.checked(name, value[0])
    return f.integer(name)


def _by_kind(kinds: Sequence[str], dense: Mlp, moe: Moe) -> Ffn:
    """Experts in the layers that are called sparse."""
    return lambda index: ("moe", moe) if kinds[index] == "sparse" else ("dense", dense)


def mlp_kinds(f: Fields, depth: int, first_dense: int) -> list[str]:
    """`mlp_layer_types`, or `first_dense` dense layers first. Raises ModelError for a kind that is neither."""
    return named_kinds(f, "mlp_layer_types", depth, ["dense"] * min(first_dense, depth) + ["sparse"] * depth)


def named_kinds(f: Fields, name: str, depth: int, default: Sequence[str]) -> list[str]:
    """One of "dense" and "sparse" for each layer."""
    kinds = f.items(name)
    if kinds is None:
        return list(default[:depth])
    if len(kinds) != depth:
        raise f.wrong(name, f"lists {len(kinds)} layers, but there are {depth}")
    unknown = sorted({str(kind) for kind in kinds} - {"dense", "sparse"})
    if unknown:
        raise f.wrong(name, f"names kinds that are not known: {', '.join(unknown)}")
    return [str(kind) for kind in kinds]


def _moe_with_shared(f: Fields, dims: Dims, hidden: str) -> Moe:
    """Routed experts of the width that the field `hidden` says, and shared ones in multiples of it."""
    experts, top_k = experts_of(f, "num_experts")
    width = f.dim(hidden)
    shared = width * f.integer("num_shared_experts", default=0, minimum=0)
    return Moe(width=dims.width, hidden=width, experts=experts, top_k=top_k, shared=shared)


def exaone_moe(f: Fields) -> Architecture:
    """EXAONE 4's attention under DeepSeek's experts (K-EXAONE)."""
    dims = read_dims(f)
    moe = _moe_with_shared(f, dims, "moe_intermediate_size")
    kinds = mlp_kinds(f, dims.depth, f.integer("first_k_dense_replace", default=1, minimum=0))
    return DecoderSpec(
        dims=dims,
        qk_norm=dims.qk_norm_per_head,
        windows=sliding(f, dims.depth, lettered_windows(f)),
        ffn=_by_kind(kinds, Mlp(width=dims.width, hidden=f.dim("intermediate_size")), moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("exaone_moe")


def hy_v3(f: Fields) -> Architecture:
    """Norms on each head of Q and K; shared and routed experts after one dense layer."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    moe, mlp_bias = _moe_with_shared(f, dims, "moe_intermediate_size"), f.flag("mlp_bias")
    moe = attrs.evolve(moe, shared_bias=mlp_bias)
    dense = Mlp(width=dims.width, hidden=f.dim("intermediate_size"), bias=mlp_bias)
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head,
        ffn=_by_kind(mlp_kinds(f, dims.depth, 1), dense, moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("hy_v3")


def cohere2_moe(f: Fields) -> Architecture:
    """Cohere 2 with experts, after dense layers of a width of their own."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    moe = _moe_with_shared(f, dims, "intermediate_size")
    dense = Mlp(width=dims.width, hidden=f.opt_int("prefix_dense_intermediate_size") or moe.hidden)
    first = f.integer("first_k_dense_replace", default=0, minimum=0)
    prefix, rest = f.integer("prefix_dense_sliding_window_pattern", default=1), every(f, dims.depth, 4)
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        norms=1,
        windows=sliding(f, dims.depth, lambda i: bool((i + 1) % prefix) if i < first else rest(i - first)),
        ffn=_by_kind(mlp_kinds(f, dims.depth, first), dense, moe),
        tied=f.flag("tie_word_embeddings"),
    ).build("cohere2_moe")


def dbrx(f: Fields) -> Architecture:
    """DBRX: experts in every layer; sizes of attention and experts in configs of their own; norms without a shift."""
    attention, ffn = f.sub("attn_config", model_type="dbrx_attention"), f.sub("ffn_config", model_type="dbrx_ffn")
    dims = read_dims(f, kv_heads=attention.integer("kv_n_heads", default=1))
    experts, top_k = ffn.integer("moe_num_experts", default=4), ffn.integer("moe_top_k", default=1)
    if top_k > experts:
        raise ffn.wrong("moe_top_k", f"is {top_k}, but there are {experts} experts")
    hidden = ffn.integer("ffn_hidden_size", default=3584)
    moe = Moe(width=dims.width, hidden=hidden, experts=experts, top_k=top_k)
    return DecoderSpec(dims=dims, ffn=lambda _: ("moe", moe), tied=f.flag("tie_word_embeddings")).build("dbrx")


def afmoe(f: Fields) -> Architecture:
    """Four norms, a gate on the attention's output, and experts after the first dense layers (Trinity)."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    moe = _moe_with_shared(f, dims, "moe_intermediate_size")
    moe = attrs.evolve(moe, router_bias=moe.experts)
    first = f.integer("num_dense_layers", default=1, minimum=0)
    interval = f.integer("global_attn_every_n_layers", default=4)
    gate = Linear("attention_gate", dims.heads * dims.head_dim, dims.width, role=ATTENTION)
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        norms=4,
        qk_norm=dims.qk_norm_per_head,
        windows=sliding(f, dims.depth, lambda index: bool((index + 1) % interval)),
        ffn=_moe_from(first, Mlp(width=dims.width, hidden=f.dim("intermediate_size")), moe),
        more=(gate,),
        tied=f.flag("tie_word_embeddings"),
    ).build("afmoe")


def mimo_v2_flash(f: Fields) -> Architecture:
    """Sliding layers with sinks and heads of their own, by default twice the K and V heads; V is narrower than K."""
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    vocab, bias = f.dim("vocab_size"), f.flag("attention_bias")
    kv_heads, head_dim, value_dim = f.dim("num_key_value_heads"), f.integer("head_dim"), f.integer("v_head_dim")
    experts, top_k = experts_of(f, "n_routed_experts")
    hidden = f.dim("moe_intermediate_size")
    shared = hidden * f.integer("n_shared_experts", default=0, minimum=0)
    moe = Moe(width=width, hidden=hidden, experts=experts, top_k=top_k, shared=shared)
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"))
    # The published config counts the tokens before the query only, and spells patterns with ones and zeros.
    before = f.opt_int("sliding_window_size")
    window = before + 1 if before else read_window(f)
    pattern, frequency = f.items("hybrid_layer_pattern"), f.items("moe_layer_freq")
    for name, listed in (("hybrid_layer_pattern", pattern), ("moe_layer_freq", frequency)):
        if listed is not None and len(listed) != depth:
            raise f.wrong(name, f"lists {len(listed)} layers, but there are {depth}")
    kinds = layer_kinds(
        f,
        depth,
        lambda i: "sliding_attention" if (pattern[i] if pattern else i and (i + 1) % 6) else "full_attention",
    )
    spelled = ["sparse" if on else "dense" for on in frequency] if frequency else ["dense"] + ["sparse"] * depth
    ffn = _by_kind(named_kinds(f, "mlp_layer_types", depth, spelled), dense, moe)
    layers = []
    for index, kind in enumerate(kinds):
        slides = kind == "sliding_attention"
        layer_heads, layer_kv, k_dim, v_dim = heads, kv_heads, head_dim, value_dim
        if slides:
            layer_heads = f.integer("swa_num_attention_heads", default=heads)
            layer_kv = f.integer("swa_num_key_value_heads", default=2 * kv_heads)
            k_dim, v_dim = f.integer("swa_head_dim", default=k_dim), f.integer("swa_v_head_dim", default=v_dim)
        f.divides("num_attention_heads", layer_heads, "num_key_value_heads", layer_kv)
        sinks = f.flag(f"add_{'swa' if slides else 'full'}_attention_sink_bias", default=slides)
        attention = Attention(
            width=width,
            heads=layer_heads,
            kv_heads=layer_kv,
            head_dim=k_dim,
            value_dim=v_dim,
            q_bias=bias,
            kv_bias=bias,
            extra_params=layer_heads if sinks else 0,
            window=window if slides else None,
        )
        name, block = ffn(index)
        norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
        layers.append((f"sliding.{name}" if slides else name, (*norms, attention, block)))
    return plain_decoder(f, f.model_type, layers, vocab=vocab, width=width, heads=heads, kv_heads=kv_heads)


def laguna(f: Fields) -> Architecture:
    """Layers with query heads of their own number and a gate on the attention's output; a shared expert."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, top_k = experts_of(f, "num_experts")
    shared = f.dim("shared_expert_intermediate_size", minimum=0)
    moe = Moe(
        width=dims.width, hidden=f.dim("moe_intermediate_size"), experts=experts, top_k=top_k, shared=shared,
        router_bias=experts,
    )  # fmt: skip
    ffn = _by_kind(mlp_kinds(f, dims.depth, 1), Mlp(width=dims.width, hidden=f.dim("intermediate_size")), moe)
    windows = sliding(f, dims.depth, lambda _: False)
    each = f.items("num_attention_heads_per_layer") or [dims.heads] * dims.depth
    if len(each) != dims.depth:
        raise f.wrong("num_attention_heads_per_layer", f"lists {len(each)} layers, but there are {dims.depth}")
    gating = f.get("gating", default=True)
    layers = []
    for index, count in enumerate(each):
        if type(count) is not int or count < 1:
            raise f.wrong("num_attention_heads_per_layer", f"holds {count!r}, not a number of heads")
        f.divides("num_attention_heads_per_layer", count, "num_key_value_heads", dims.kv_heads)
        gate = count if gating is True or gating == "per-head" else count * dims.head_dim
        attention = Attention(
            width=dims.width, heads=count, kv_heads=dims.kv_heads, head_dim=dims.head_dim, q_bias=bias, kv_bias=bias,
            o_bias=bias, extra_params=dims.qk_norm_per_head, window=windows[index],
        )  # fmt: skip
        name, block = ffn(index)
        norms = (Norm("attention_norm", dims.width, dims.width), Norm("mlp_norm", dims.width, dims.width))
        blocks = (*norms, attention, Linear("attention_gate", gate, dims.width, role=ATTENTION), block)
        layers.append((f"sliding.{name}" if windows[index] else name, blocks))
    return plain_decoder(
        f, "laguna", layers, vocab=dims.vocab, width=dims.width, heads=dims.heads, kv_heads=dims.kv_heads
    )


def dense_latents(f: Fields) -> Architecture:
    """Latent attention with a dense MLP (MiniCPM3, Youtu)."""
    heads = f.dim("num_attention_heads")
    if f.opt_int("v_head_dim") is None:
        width = f.dim("hidden_size")
        f = f.replaced(v_head_dim=f.divides("hidden_size", width, "num_attention_heads", heads))
    bias = f.flag("mlp_bias") if f.model_type == "minicpm3" else False
    mlp = Mlp(width=f.dim("hidden_size"), hidden=f.dim("intermediate_size"), bias=bias)
    return latent_decoder(f, lambda _: ("", mlp), f.model_type)


def longcat_flash(f: Fields) -> Architecture:
    """Two latent attentions and two dense MLPs per layer; experts beside them, some of which compute nothing."""
    width, heads, depth, vocab = (
        f.dim("hidden_size"),
        f.dim("num_attention_heads"),
        f.dim("num_layers", "num_hidden_layers"),
        f.dim("vocab_size"),
    )
    experts, top_k = f.dim("n_routed_experts"), f.dim("moe_topk")
    zero = f.opt_int("zero_expert_num") or 0
    if top_k > experts + zero:
        raise f.wrong("moe_topk", f"is {top_k}, but there are {experts + zero} experts")
    moe = Moe(
        width=width,
        hidden=f.dim("expert_ffn_hidden_size"),
        experts=experts,
        top_k=top_k,
        zero_experts=zero,
        router_bias=experts + zero if f.flag("router_bias") else 0,
    )
    attention = latent_attention(f, width, heads)
    mlp = Mlp(width=width, hidden=f.dim("ffn_hidden_size"))
    norms = tuple(Norm(name, width, width) for name in ("attention_norm", "mlp_norm"))
    half = (*norms, attention, mlp)
    layers = [("", (*half, moe, *half))] * depth
    return plain_decoder(f, "longcat_flash", layers, vocab=vocab, width=width, heads=heads, kv_heads=heads)


def gated_norm_blocks(f: Fields, mlp_kind: str) -> tuple[Block, ...]:
    """A.X K2: low-rank gates behind norms, and a query projected together with a gate from twice its latents."""
    width, rank, heads = f.dim("hidden_size"), f.integer("gated_norm_rank"), f.dim("num_attention_heads")
    blocks: list[Block] = []
    for name in ("attention_norm_gate", *(("mlp_norm_gate",) if mlp_kind == "sparse" else ())):
        blocks += [Linear(f"{name}_1", rank, width), Linear(f"{name}_2", width, rank)]
    # One matrix of 2 q_lora_rank rows: this is what it has beyond DeepSeek's `q_b`.
    query, value = f.dim("qk_nope_head_dim") + f.dim("qk_rope_head_dim"), f.dim("v_head_dim")
    return (*blocks, Linear("q_gate", heads * (query + 2 * value), f.dim("q_lora_rank"), role=ATTENTION))


def sparse_latents(f: Fields) -> Architecture:
    """DeepSeek-V3.2, GLM-5 and A.X K2: an indexer picks the keys that latent attention looks at."""
    width, heads, depth = f.dim("hidden_size"), f.dim("num_attention_heads"), f.dim("num_hidden_layers")
    plain = latent_attention(f, width, heads)
    check_kinds(f, depth, "indexed_attention")
    listed = indexers(f, depth)
    attention = [
        SparseLatentAttention(
            **attrs.asdict(plain),
            top_keys=f.integer("index_topk"),
            index_heads=f.integer("index_n_heads"),
            index_dim=f.integer("index_head_dim"),
            has_indexer=kind == "full",
        )
        for kind in listed
    ]
    if plain.q_rank is None:
        raise f.missing("q_lora_rank")
    experts, top_k = experts_of(f, "n_routed_experts", "num_experts")
    hidden = f.dim("moe_intermediate_size")
    shared = hidden * f.integer("n_shared_experts", default=0, minimum=0)
    moe = Moe(width=width, hidden=hidden, experts=experts, top_k=top_k, shared=shared)
    gated = f.model_type == "axk2"
    first = f.integer("first_k_dense_replace", default=1 if gated else 3, minimum=0)
    kinds = mlp_kinds(_spelled_frequency(f, depth, first) if gated else f, depth, first)
    ffn = _by_kind(kinds, Mlp(width=width, hidden=f.dim("intermediate_size")), moe)
    norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
    layers = []
    for index, mixer in enumerate(attention):
        name, block = ffn(index)
        label = name if mixer.has_indexer else f"{name}.reused_index"
        more = gated_norm_blocks(f, kinds[index]) if gated else ()
        layers.append((label, (*norms, *more, mixer, block)))
    vocab = f.dim("vocab_size")
    return plain_decoder(f, f.model_type, layers, vocab=vocab, width=width, heads=heads, kv_heads=heads)


def indexers(f: Fields, depth: int) -> list[str]:
    """Which layers have an indexer ("full"), and which reuse the keys that an earlier one picked ("shared")."""
    if f.model_type in ("deepseek_v32", "axk2"):
        return ["full"] * depth
    kinds = f.items("indexer_types")
    pattern = f.get("index_topk_pattern")
    if kinds is None and isinstance(pattern, str):
        kinds = [{"F": "full", "S": "shared"}.get(letter, letter) for letter in pattern]
    if kinds is None:
        every_n = f.integer("index_topk_freq", default=1)
        offset = f.integer("index_skip_topk_offset", default=2, minimum=0)
        kinds = ["shared" if max(index - offset + 1, 0) % every_n else "full" for index in range(depth)]
    if len(kinds) != depth:
        raise f.wrong("indexer_types", f"lists {len(kinds)} layers, but there are {depth}")
    if set(kinds) - {"full", "shared"} or kinds[0] != "full":
        raise f.wrong("indexer_types", "must name each layer full or shared, the first one full")
    return [str(kind) for kind in kinds]


MOE: dict[str, Builder] = {
    "mixtral": Verified(mixtral),
    "phimoe": Verified(phimoe),
    "qwen2_moe": Verified(qwen2_moe),
    "qwen3_moe": Verified(qwen3_moe),
    "olmoe": Verified(olmoe),
    "flex_olmo": Verified(olmoe),
    "granitemoe": Verified(granitemoe),
    "granitemoeshared": Verified(granitemoe),
    "deepseek_v2": Verified(deepseek),
    "deepseek_v3": Verified(deepseek),
    "kimi_k2": Verified(deepseek),
    "deepseek": deepseek,
    "deepseek_ocr2_text": Verified(deepseek),
    "qwen3_vl_moe_text": Verified(qwen3_moe),
    "qwen3_omni_moe_text": Verified(qwen3_moe),
    "glm4_moe": Verified(glm4_moe),
    "glm4_moe_lite": Verified(glm4_moe_lite),
    "dots1": Verified(dots1),
    "solar_open": Verified(solar_open),
    "gpt_oss": Verified(gpt_oss),
    "llama4_text": Verified(llama4_text),
    "minimax_m2": Verified(minimax_m2),
    "ernie4_5_moe": Verified(ernie4_5_moe),
    "hunyuan_v1_moe": Verified(hunyuan_moe),
    "exaone_moe": Verified(exaone_moe),
    "hy_v3": Verified(hy_v3),
    "cohere2_moe": Verified(cohere2_moe),
    "dbrx": Verified(dbrx),
    "afmoe": Verified(afmoe),
    "mimo_v2_flash": Verified(mimo_v2_flash),
    "laguna": Verified(laguna),
    "minicpm3": Verified(dense_latents),
    "youtu": Verified(dense_latents),
    "longcat_flash": longcat_flash,
    "deepseek_v32": Verified(sparse_latents),
    "glm_moe_dsa": Verified(sparse_latents),
    "mistral4": deepseek,
    "glm4v_moe_text": Verified(solar_open),
    "ernie4_5_vl_moe_text": Verified(ernie4_5_vl_moe),
    "aria_text": Verified(aria_text),
    "axk1": Verified(axk1),
    "axk2": Verified(sparse_latents),
    "flint": Verified(flint),
    "granitemoe_swa": Verified(granitemoe),
    "kolibri1": Verified(kolibri1),
    "mellum": Verified(mellum),
}
