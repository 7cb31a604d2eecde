"""Decoders whose code comes with the checkpoint, older ones above all; transformers has no class for them.

Nothing here can be counted by torch, so that the label is `exact`: the tests compare parameters with the sizes that the
published checkpoints have.
"""

from __future__ import annotations

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Mlp, Moe
from nsys_pipeline.model.families.common import Builder, DecoderSpec, Dims, dense_ffn, read_dims
from nsys_pipeline.model.families.dense import llama, qwen2
from nsys_pipeline.model.families.moe import experts_of
from nsys_pipeline.model.fields import Fields


def internlm2(f: Fields) -> Architecture:
    """Llama with one switch for the biases of attention; projections are fused, which counts the same."""
    dims, bias = read_dims(f), f.flag("bias")
    return DecoderSpec(
        dims=dims, q_bias=bias, o_bias=bias, ffn=dense_ffn(f, dims.width), tied=f.flag("tie_word_embeddings")
    ).build("internlm2")


def baichuan(f: Fields) -> Architecture:
    """Llama with multi-head attention."""
    dims = read_dims(f, kv_heads=f.dim("num_attention_heads"))
    return DecoderSpec(dims=dims, ffn=dense_ffn(f, dims.width), tied=f.flag("tie_word_embeddings")).build("baichuan")


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


REMOTE: dict[str, Builder] = {
    "internlm2": internlm2,
    "baichuan": baichuan,
    "qwen": qwen,
    "chatglm": chatglm,
    "exaone": exaone,
    "minicpm": llama,
    "mimo": qwen2,
    "bailing_moe": bailing_moe,
    "bailing_moe_v2": bailing_moe,
}
