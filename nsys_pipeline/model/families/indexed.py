"""Mistral Large 4, GLM-5.3 and Hunyuan 4: latent attention to keys that an indexer picks, as in DeepSeek-V3.2."""

from __future__ import annotations

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Block, Constant, Linear, Mlp, Moe, Norm
from nsys_pipeline.model.compressed_attention import HyperConnection
from nsys_pipeline.model.families.common import check_kinds, layer_kinds, per_layer, plain_decoder
from nsys_pipeline.model.families.moe import experts_of, indexers, mlp_kinds
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION
from nsys_pipeline.model.recurrent import kimi_delta_attention
from nsys_pipeline.model.sparse_attention import SparseLatentAttention


def mistral_large4(f: Fields) -> Architecture:
    """No latents of the query; layers without rotary positions; layers that read an earlier layer's latents."""
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    nope, rope = f.dim("qk_nope_head_dim"), f.dim("qk_rope_head_dim")
    interval = f.integer("no_rope_layer_interval", default=4)
    rotary = per_layer(f, "no_rope_layers", depth) or [int((index + 1) % interval != 0) for index in range(depth)]
    sources = f.indices("kv_source_layers") or list(range(depth))
    if len(sources) != depth:
        raise f.wrong("kv_source_layers", f"lists {len(sources)} layers, but there are {depth}")
    check_kinds(f, depth, "indexed_attention")
    moe, dense = _ffn(f, width)
    layers: list[tuple[str, tuple[Block, ...]]] = []
    kinds = mlp_kinds(f, depth, f.integer("first_k_dense_replace", default=1, minimum=0))
    for index, (indexer, mlp_kind) in enumerate(zip(indexers(f, depth), kinds, strict=True)):
        attention = SparseLatentAttention(
            width=width,
            heads=heads,
            q_rank=None,
            kv_rank=f.dim("kv_lora_rank"),
            nope_dim=nope if rotary[index] else nope + rope,
            rope_dim=rope if rotary[index] else 0,
            value_dim=f.dim("v_head_dim"),
            bias=f.flag("attention_bias"),
            shared_latents=sources[index] != index,
            # A scale and a shift per head, with the logarithm of the position.
            extra_params=2 * heads,
            top_keys=f.integer("index_topk"),
            index_heads=f.integer("index_n_heads"),
            index_dim=f.integer("index_head_dim"),
            has_indexer=indexer == "full",
        )
        label = ["moe" if mlp_kind == "sparse" else "dense"]
        label += [name for name, on in (("no_rope", not rotary[index]), ("shared_kv", sources[index] != index)) if on]
        label += ["reused_index"] if indexer != "full" else []
        layers.append((".".join(label), (*_norms(width), attention, moe if mlp_kind == "sparse" else dense)))
    # Rotary frequencies are trained.
    return _decoder(f, layers, width, heads, (Constant("rotary_frequencies", rope // 2),))


def glm5_next(f: Fields) -> Architecture:
    """Three Kimi delta attentions to a sparse one whose indexer scores pools of keys; hyper-connections."""
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    nested = f.sub("linear_attn_config", model_type="glm5_next_linear")
    linear = kimi_delta_attention(
        width,
        nested.integer("num_heads", default=f.integer("linear_num_heads")),
        nested.integer("head_dim", default=f.integer("linear_head_dim")),
        nested.integer("short_conv_kernel_size", default=f.integer("linear_conv_kernel_dim")),
    )
    pool, top_keys = f.integer("index_kpool"), f.integer("index_topk")
    f.divides("index_topk", top_keys, "index_kpool", pool)
    moe, dense = _ffn(f, width)
    streams = f.integer("hc_mult")
    connections = tuple(HyperConnection(name, width, streams) for name in ("attention_streams", "mlp_streams"))
    kinds = layer_kinds(
        f,
        depth,
        lambda index: "indexed_attention" if index % 4 == 3 else "linear_attention",
        ("linear_attention", "indexed_attention"),
    )
    listed = indexers(f, depth)
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for index, mlp_kind in enumerate(mlp_kinds(f, depth, 3)):
        recurrent = kinds[index] == "linear_attention"
        attention = SparseLatentAttention(
            width=width,
            heads=heads,
            q_rank=f.dim("q_lora_rank"),
            kv_rank=f.dim("kv_lora_rank"),
            nope_dim=f.dim("qk_nope_head_dim"),
            rope_dim=f.integer("qk_rope_head_dim", minimum=0),
            value_dim=f.dim("v_head_dim"),
            bias=f.flag("attention_bias"),
            top_keys=top_keys,
            index_heads=f.integer("index_n_heads"),
            index_dim=f.integer("index_head_dim"),
            has_indexer=listed[index] == "full",
            pool=pool,
            open_pool=f.flag("index_kpool_always_select_tail", default=True),
        )
        mixer: Block = linear if recurrent else attention
        label = ["linear" if recurrent else "sparse", "moe" if mlp_kind == "sparse" else "dense"]
        label += ["reused_index"] if not recurrent and listed[index] != "full" else []
        ffn: Block = moe if mlp_kind == "sparse" else dense
        layers.append((".".join(label), (*_norms(width), *connections, mixer, ffn)))
    return _decoder(f, layers, width, heads)


def hy_v4(f: Fields) -> Architecture:
    """DeepSeek-V3.2's attention with sinks and a gate on each value of its output; streams that are not mixed."""
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    value_dim, streams = f.dim("v_head_dim"), f.integer("hc_mult")
    check_kinds(f, depth, "indexed_attention")
    moe, dense = _ffn(f, width)
    connections = tuple(
        HyperConnection(name, width, streams, mixes=False) for name in ("attention_streams", "mlp_streams")
    )
    gate = Linear("attention_gate", heads * value_dim, width, role=ATTENTION)
    default = ["full" if index == 0 or index % 4 == 1 else "shared" for index in range(depth)]
    listed = indexers(f if f.has("indexer_types") else f.replaced(indexer_types=default), depth)
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for indexer, mlp_kind in zip(listed, mlp_kinds(f, depth, 1), strict=True):
        attention = SparseLatentAttention(
            width=width,
            heads=heads,
            q_rank=f.dim("q_lora_rank"),
            kv_rank=f.dim("kv_lora_rank"),
            nope_dim=f.dim("qk_nope_head_dim"),
            rope_dim=f.dim("qk_rope_head_dim"),
            value_dim=value_dim,
            bias=f.flag("attention_bias"),
            extra_params=heads,
            top_keys=f.integer("index_topk"),
            index_heads=f.integer("index_n_heads"),
            index_dim=f.integer("index_head_dim"),
            has_indexer=indexer == "full",
        )
        ffn: Block = moe if mlp_kind == "sparse" else dense
        label = ("moe" if mlp_kind == "sparse" else "dense") + ("" if indexer == "full" else ".reused_index")
        layers.append((label, (*_norms(width), *connections, attention, gate, ffn)))
    final = HyperConnection("final_streams", width, streams, final=True)
    return _decoder(f, layers, width, heads, before_norm=(final,))


def _norms(width: int) -> tuple[Norm, Norm]:
    return Norm("attention_norm", width, width), Norm("mlp_norm", width, width)


def _ffn(f: Fields, width: int) -> tuple[Moe, Mlp]:
    experts, top_k = experts_of(f, "n_routed_experts", "num_experts")
    hidden = f.dim("moe_intermediate_size")
    shared = hidden * f.integer("n_shared_experts", default=0, minimum=0)
    moe = Moe(width=width, hidden=hidden, experts=experts, top_k=top_k, shared=shared)
    return moe, Mlp(width=width, hidden=f.dim("intermediate_size"))


def _decoder(
    f: Fields,
    layers: list[tuple[str, tuple[Block, ...]]],
    width: int,
    heads: int,
    before_norm: tuple[Block, ...] = (),
) -> Architecture:
    vocab = f.dim("vocab_size")
    return plain_decoder(
        f, f.model_type, layers, vocab=vocab, width=width, heads=heads, kv_heads=heads, before_norm=before_norm
    )
