"""Decoders whose code comes with the checkpoint, older ones above all; transformers has no class for them.

Nothing here can be counted by torch, so that the label is `exact`: the tests compare parameters with the sizes that the
published checkpoints have.
"""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block, Mlp, Moe, Norm
from nsys_pipeline.model.families.common import (
    Builder,
    DecoderSpec,
    Dims,
    dense_ffn,
    per_layer,
    plain_decoder,
    read_dims,
    read_window,
    uniform,
)
from nsys_pipeline.model.families.decoders import PLAIN
from nsys_pipeline.model.families.dense import qwen2
from nsys_pipeline.model.families.hybrid import minimax
from nsys_pipeline.model.families.moe import experts_of, mimo_v2_flash
from nsys_pipeline.model.families.nemotron_nas import nemotron_nas
from nsys_pipeline.model.families.step3 import step3
from nsys_pipeline.model.fields import Fields


def qwen(f: Fields) -> Architecture:
    """Qwen 1: biases on Q, K and V; `intermediate_size` counts the gate and the up matrix together."""
    heads, bias = f.dim("num_attention_heads"), not f.flag("no_bias", default=True)
    width, head_dim = f.dim("hidden_size"), f.opt_int("kv_channels")
    if head_dim is None:
        head_dim = f.divides("hidden_size", width, "num_attention_heads", heads)
    dims = Dims(width, f.dim("num_hidden_layers"), heads, heads, head_dim, f.dim("vocab_size"))
    hidden = f.divides("intermediate_size", f.dim("intermediate_size"), "gate and up", 2)
    return DecoderSpec(
        dims=dims,
        q_bias=True,
        o_bias=bias,
        ffn=dense_ffn(f, dims.width, bias=bias, hidden=hidden),
        tied=f.flag("tie_word_embeddings"),
    ).build("qwen")


def chatglm(f: Fields) -> Architecture:
    """ChatGLM 2, 3 and GLM-4-9B: few K and V heads, biases on Q, K and V. ChatGLM 1 has other fields and is refused."""
    heads, bias = f.dim("num_attention_heads"), f.flag("add_bias_linear")
    kv_heads = f.dim("multi_query_group_num") if f.flag("multi_query_attention") else heads
    f.divides("num_attention_heads", heads, "multi_query_group_num", kv_heads)
    width = f.dim("hidden_size")
    dims = Dims(width, f.dim("num_layers"), heads, kv_heads, f.dim("kv_channels"), f.dim("padded_vocab_size"))
    norm = "rms" if f.flag("rmsnorm", default=True) else "layer"
    return DecoderSpec(
        dims=dims,
        q_bias=bias or f.flag("add_qkv_bias"),
        o_bias=bias,
        norm=norm,
        norms=2,
        final_norm=f.flag("post_layer_norm", default=True),
        ffn=dense_ffn(f, width, bias=bias, hidden=f.dim("ffn_hidden_size")),
        tied=f.flag("tie_word_embeddings"),
        head_bias=bias,
    ).build("chatglm")


def exaone(f: Fields) -> Architecture:
    """EXAONE 3: Llama with `num_layers`."""
    named = f.replaced(num_hidden_layers=f.dim("num_layers", "num_hidden_layers"))
    dims = read_dims(named)
    return DecoderSpec(dims=dims, ffn=dense_ffn(named, dims.width), tied=f.flag("tie_word_embeddings")).build("exaone")


def bailing_moe(f: Fields) -> Architecture:
    """Ling and Ring: shared and routed experts after the first dense layers; norms on each head of Q and K if asked."""
    dims, bias = read_dims(f), f.flag("use_bias")
    experts, top_k = experts_of(f, "num_experts")
    hidden = f.dim("moe_intermediate_size")
    each = f.opt_int("moe_shared_expert_intermediate_size") or hidden
    moe = Moe(
        width=dims.width,
        hidden=hidden,
        experts=experts,
        top_k=top_k,
        shared=each * f.integer("num_shared_experts", default=0, minimum=0),
        shared_bias=bias,
    )
    dense = Mlp(width=dims.width, hidden=f.dim("intermediate_size"), bias=bias)
    first = f.integer("first_k_dense_replace", default=0, minimum=0)
    return DecoderSpec(
        dims=dims,
        q_bias=bias or f.flag("use_qkv_bias"),
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head if f.flag("use_qk_norm") else 0,
        ffn=lambda index: ("dense", dense) if index < first else ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    ).build(f.model_type)


def minimax_text_01(f: Fields) -> Architecture:
    """MiniMax-Text-01 and M1, which transformers calls minimax: kinds of layers as zeros (lightning) and ones."""
    kinds = f.items("attn_type_list")
    if kinds is None:
        raise f.missing("attn_type_list")
    if any(kind not in (0, 1) for kind in kinds):
        raise f.wrong("attn_type_list", "holds other numbers than 0 and 1")
    if f.get("shared_intermediate_size"):
        raise f.wrong("shared_intermediate_size", "adds shared experts, which is not supported for this model type")
    return minimax(f)


def mimo_v2(f: Fields) -> Architecture:
    """MiMo-V2.5: MiMo-V2-Flash with switches; of the multimodal one the text decoder."""
    pattern = f.items("hybrid_layer_pattern")
    for name in ("hybrid_layer_pattern", "moe_layer_freq"):
        if f.items(name) is None:
            raise f.missing(name)
    if pattern and any(pattern) and not f.has("sliding_window", "sliding_window_size"):
        raise f.missing("sliding_window")
    # What the config leaves out is as in full layers; Flash has twice the K and V heads, and sinks.
    text = mimo_v2_flash(
        f.replaced(
            swa_num_key_value_heads=f.get("swa_num_key_value_heads", "num_key_value_heads"),
            add_swa_attention_sink_bias=f.flag("add_swa_attention_sink_bias"),
        )
    )
    return attrs.evolve(text, text_only=f.has("vision_config") or f.has("audio_config"))


def xverse(f: Fields) -> Architecture:
    """Llama; the checkpoints with experts go by the same name and are refused."""
    if f.has("num_experts"):
        raise f.wrong("num_experts", "is set; XVERSE with experts is not supported")
    return PLAIN["llama"](f)


def jais(f: Fields) -> Architecture:
    """GPT-2 with a gated MLP (`swiglu`) and ALiBi instead of positions."""
    width, heads = f.dim("n_embd", "hidden_size"), f.dim("n_head", "num_attention_heads")
    head_dim = f.divides("n_embd", width, "n_head", heads)
    dims = Dims(width, f.dim("n_layer", "num_hidden_layers"), heads, heads, head_dim, f.dim("vocab_size"))
    gated = f.text("activation_function") == "swiglu"
    learned = f.text("position_embedding_type", default="learned") == "learned"
    return DecoderSpec(
        dims=dims,
        q_bias=True,
        o_bias=True,
        norm="layer",
        ffn=dense_ffn(f, width, gated=gated, bias=True, hidden=f.opt_int("n_inner") or 4 * width),
        tied=f.flag("tie_word_embeddings", default=True),
        positions=f.dim("n_positions", "max_position_embeddings") if learned else 0,
    ).build("jais")


def grok_1(f: Fields) -> Architecture:
    """Mixtral's experts between four norms; the table is tied."""
    dims = read_dims(f)
    experts, top_k = experts_of(f, "num_experts")
    moe = Moe(width=dims.width, hidden=f.dim("intermediate_size"), experts=experts, top_k=top_k)
    return DecoderSpec(
        dims=dims, norms=4, ffn=lambda _: ("moe", moe), tied=f.flag("tie_word_embeddings", default=True)
    ).build("grok-1")


def arctic(f: Fields) -> Architecture:
    """Experts in every `moe_layer_frequency`-th layer beside an MLP as wide as the model, which has its own norm."""
    dims = read_dims(f)
    width, hidden = dims.width, f.dim("intermediate_size")
    experts, top_k = experts_of(f, "num_local_experts")
    moe = Moe(width=width, hidden=hidden, experts=experts, top_k=top_k)
    dense = Mlp(width=width, hidden=hidden)
    step, beside = f.integer("moe_layer_frequency", default=2), f.flag("parallel_attn_mlp_res")
    if beside != f.flag("use_residual", default=beside):
        raise f.wrong("use_residual", f"is {not beside}, but `parallel_attn_mlp_res` is {beside}")
    spec = DecoderSpec(
        dims=dims,
        windows=uniform(dims.depth, read_window(f)),
        ffn=lambda index: ("dense", dense) if (index + 1) % step else ("moe", moe),
        tied=f.flag("tie_word_embeddings"),
    )
    residual = (Norm("residual_norm", width, width), Mlp(width=width, hidden=width, label="residual_"))
    described = (spec.layer(index) for index in range(dims.depth))
    layers = [(label, (*blocks, *residual) if beside and moe in blocks else blocks) for label, blocks in described]
    return plain_decoder(f, "arctic", layers, vocab=dims.vocab, width=width, heads=dims.heads, kv_heads=dims.kv_heads)


def openelm(f: Fields) -> Architecture:
    """Layers that widen with depth: lists of query heads, K and V heads, and multipliers of the MLP's width."""
    width, depth, head_dim = f.dim("model_dim"), f.dim("num_transformer_layers"), f.dim("head_dim")
    listed = {name: per_layer(f, name, depth) for name in ("num_query_heads", "num_kv_heads", "ffn_multipliers")}
    for name, values in listed.items():
        if values is None:
            raise f.missing(name)
    divisor, gated = f.integer("ffn_dim_divisor", default=256), f.flag("ffn_with_glu", default=True)
    norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
    qk_norm = 2 * head_dim if f.flag("normalize_qk_projections", default=True) else 0
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for index in range(depth):
        here = f.replaced(**{name: values[index] for name, values in listed.items() if values})
        heads, kv_heads = here.dim("num_query_heads"), here.dim("num_kv_heads")
        here.divides("num_query_heads", heads, "num_kv_heads", kv_heads)
        exact = here.ratio("ffn_multipliers") * width
        # The nearest multiple of the divisor, but never a tenth below what is asked for.
        hidden = max(divisor, int(exact + divisor / 2) // divisor * divisor)
        hidden += divisor if hidden < 0.9 * exact else 0
        attention = Attention(width=width, heads=heads, kv_heads=kv_heads, head_dim=head_dim, extra_params=qk_norm)
        layers.append((f"{index}", (*norms, attention, Mlp(width=width, hidden=hidden, gated=gated))))
    tied = f.replaced(tie_word_embeddings=f.flag("share_input_output_layers", default=True))
    attention = next(block for block in layers[-1][1] if isinstance(block, Attention))
    return plain_decoder(
        tied, "openelm", layers, vocab=f.dim("vocab_size"), width=width, heads=attention.heads,
        kv_heads=attention.kv_heads,
    )  # fmt: skip


REMOTE: dict[str, Builder] = {
    "arctic": arctic,
    "deci": nemotron_nas,
    "grok-1": grok_1,
    "jais": jais,
    "mimo_v2": mimo_v2,
    "minimax_m1": minimax_text_01,
    "minimax_text_01": minimax_text_01,
    "nemotron-nas": nemotron_nas,
    "openelm": openelm,
    "step3_text": step3,
    "xverse": xverse,
    "qwen": qwen,
    "chatglm": chatglm,
    "exaone": exaone,
    "mimo": qwen2,
    "bailing_moe": bailing_moe,
    "bailing_moe_v2": bailing_moe,
}
