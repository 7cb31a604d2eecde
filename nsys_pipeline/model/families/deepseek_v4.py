"""DeepSeek-V4: windows with compressed entries behind them, hyper-connections, experts in every layer."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Block, Moe, Norm
from nsys_pipeline.model.compressed_attention import CompressedAttention, Compressor, HyperConnection
from nsys_pipeline.model.families.common import layer_kinds, plain_decoder
from nsys_pipeline.model.families.moe import experts_of
from nsys_pipeline.model.fields import Fields

_WINDOW, _SPARSE, _HEAVY = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
#: Layer kinds by the number that checkpoints list in `compress_ratios`.
_RATIOS = {0: _WINDOW, 4: _SPARSE, 128: _HEAVY}
_LABELS = {_WINDOW: "sliding", _SPARSE: "sparse", _HEAVY: "compressed"}


def _kinds(f: Fields, depth: int) -> list[str]:
    """The kind of attention of each layer; lists may go on for layers of multi-token prediction."""
    ratios = f.indices("compress_ratios")
    if ratios is not None and f.items("layer_types") is None:
        if len(ratios) < depth or set(ratios) - set(_RATIOS):
            raise f.wrong("compress_ratios", f"must name 0, 4 or 128 for each of {depth} layers")
        return [_RATIOS[ratio] for ratio in ratios[:depth]]
    listed = f.items("layer_types")
    named = f.replaced(layer_types=listed[:depth]) if listed else f
    return layer_kinds(named, depth, lambda i: _SPARSE if i > 1 and i % 2 else _HEAVY, _LABELS)


def _rate(f: Fields, kind: str, legacy: str, default: int) -> int:
    if f.has(legacy) or not f.has("compress_rates"):
        return f.integer(legacy, default=default)
    return f.sub("compress_rates", model_type=f.model_type).integer(kind, default=default)


def deepseek_v4(f: Fields) -> Architecture:
    """Layers of three kinds: a window alone, entries that an indexer picks, entries of many tokens each."""
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    head_dim, groups, streams = f.integer("head_dim"), f.integer("o_groups"), f.integer("hc_mult")
    f.divides("num_attention_heads x head_dim", heads * head_dim, "o_groups", groups)
    plain = CompressedAttention(
        width=width,
        heads=heads,
        head_dim=head_dim,
        q_rank=f.integer("q_lora_rank"),
        groups=groups,
        out_rank=f.integer("o_lora_rank"),
        window=f.integer("sliding_window"),
    )
    rate = _rate(f, _SPARSE, "compress_rate_csa", 4)
    mixers = {
        _WINDOW: plain,
        _SPARSE: attrs.evolve(
            plain,
            compressor=Compressor(rate, head_dim, overlap=True),
            indexer=Compressor(rate, f.integer("index_head_dim"), overlap=True),
            index_heads=f.integer("index_n_heads"),
            top_entries=f.integer("index_topk"),
        ),
        _HEAVY: attrs.evolve(
            plain, compressor=Compressor(_rate(f, _HEAVY, "compress_rate_hca", 128), head_dim, overlap=False)
        ),
    }
    experts, top_k = experts_of(f, "n_routed_experts", "num_local_experts")
    hidden = f.dim("moe_intermediate_size")
    moe = Moe(
        width=width, hidden=hidden, experts=experts, top_k=top_k, shared=hidden, shared_bias=f.flag("mlp_bias")
    )  # fmt: skip
    norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
    streams_in = tuple(HyperConnection(name, width, streams) for name in ("attention_streams", "mlp_streams"))
    layers: list[tuple[str, tuple[Block, ...]]] = [
        (_LABELS[kind], (*norms, *streams_in, mixers[kind], moe)) for kind in _kinds(f, depth)
    ]
    final = HyperConnection("final_streams", width, streams, final=True)
    vocab = f.dim("vocab_size")
    return plain_decoder(
        f, "deepseek_v4", layers, vocab=vocab, width=width, heads=heads, kv_heads=1, before_norm=(final,)
    )
