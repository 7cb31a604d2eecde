"""Qwen4-Exp: gated delta nets, block-sparse attention, gated residual streams, embeddings of n-grams."""

from __future__ import annotations

from math import isqrt

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Block, Embedding, Head, Linear, Norm, OnTokens
from nsys_pipeline.model.families.common import layer_kinds, read_dims
from nsys_pipeline.model.families.hybrid import delta_net
from nsys_pipeline.model.families.moe import qwen_ffn
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.recurrent import Projection, Recurrent
from nsys_pipeline.model.sparse_attention import PooledSparseAttention


def qwen4_exp(f: Fields) -> Architecture:
    """Three gated delta nets to a sparse attention, experts beside a gated shared one in every layer."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    width, streams = dims.width, f.integer("hc_count")
    budget, pool = f.integer("indexer_budget"), f.integer("indexer_compress_ratio")
    attention = PooledSparseAttention(
        width=width,
        heads=dims.heads,
        kv_heads=dims.kv_heads,
        head_dim=dims.head_dim,
        q_bias=bias,
        kv_bias=bias,
        o_bias=bias,
        extra_params=dims.qk_norm_per_head,
        gate=True,
        pool=pool,
        top_pools=f.divides("indexer_budget", budget, "indexer_compress_ratio", pool),
        index_heads=f.integer("indexer_n_heads"),
        index_dim=f.integer("indexer_head_dim"),
    )
    linear = delta_net(f, width)
    ffn = qwen_ffn(f, width, dims.depth, shared=True)
    step = f.integer("full_attention_interval", default=4)
    kinds = layer_kinds(
        f,
        dims.depth,
        lambda i: "linear_attention" if (i + 1) % step else "indexed_attention",
        ("linear_attention", "indexed_attention"),
    )
    embedded = sorted(set(f.indices("ple_layer_ids") or []))
    residuals = (*_residual(f, "attention_streams", width, streams), *_residual(f, "mlp_streams", width, streams))
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for index, kind in enumerate(kinds):
        recurrent = kind == "linear_attention"
        mixer: Block = linear if recurrent else attention
        extra: tuple[Block, ...] = ()
        label = "linear" if recurrent else "sparse"
        if index + 1 in embedded:
            extra, label = _ngrams(f, width, streams, embedded.index(index + 1)), f"{label}.ngrams"
        layers.append((label, (*extra, *residuals, mixer, ffn(index)[1])))
    stack = Stack(
        "decoder",
        group_layers("layers", layers),
        (Embedding("embed", dims.vocab, width, tied=f.flag("tie_word_embeddings")),),
        (*_residual(f, "final_streams", width, streams, final=True), Head(dims.vocab, width)),
    )
    return Architecture(family="qwen4_exp_text", decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads)


def _residual(f: Fields, name: str, width: int, streams: int, *, final: bool = False) -> tuple[Block, ...]:
    """A low-rank gate on each value of each stream, whose mean goes into the block, and a weight per stream for after.

    The last one only collects.
    """
    inner, rank = streams * width, f.integer("hc_lowrank")
    gates = (Norm(f"{name}_norm", inner, inner), Linear(f"{name}_down", rank, inner), Linear(f"{name}_up", inner, rank))
    return gates if final else (*gates, Linear(f"{name}_inject", streams, inner))


def _ngrams(f: Fields, width: int, streams: int, number: int) -> tuple[Block, ...]:
    """Rows of hashed n-grams, concatenated, as keys and a value for the streams; a dilated convolution."""
    size, each = f.integer("ngram_size"), f.integer("heads_per_ngram")
    heads, inputs = (size - 1) * each, f.opt_int("ple_embed_dim") or width
    head_dim = f.divides("ple_embed_dim", inputs, "ngram_size x heads_per_ngram", heads)
    rows = sum(_primes(f.integer("ngram_vocab_size_base"), number * heads, heads))
    multiple = f.integer("make_ngram_vocab_size_divisible_by")
    table = Embedding("ngram_embedding", multiple * -(-rows // multiple), head_dim)
    inner, kernel = streams * width, f.integer("ple_conv_kernel_size")
    mix = Recurrent(
        projections=(Projection("in_proj_ngram_keys", inner, inputs),),
        out=Projection("out_proj_ngram_values", width, inputs),
        conv_channels=inner,
        conv_kernel=kernel,
        # Every `ngram_size`-th token before is seen, so that the state is longer than the kernel.
        last_inputs=inner * (kernel - 1) * (size - 1),
        small_params=3 * inner,
    )
    return OnTokens(blocks=(table,), times=heads), mix


def _primes(base: int, skip: int, count: int) -> list[int]:
    """`count` primes from `base` on, after the first `skip`: the rows of the tables of hashed n-grams."""
    found: list[int] = []
    candidate = base
    while len(found) < skip + count:
        if candidate > 1 and all(candidate % divisor for divisor in range(2, isqrt(candidate) + 1)):
            found.append(candidate)
        candidate += 1
    return found[skip:]
