"""MiniMax-M3: block-sparse attention and experts beside a shared one, each in the layers that the config lists."""

from __future__ import annotations

from typing import Any

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block, Mlp, Moe, Norm
from nsys_pipeline.model.families.common import layer_kinds, plain_decoder, read_dims
from nsys_pipeline.model.families.moe import experts_of, named_kinds
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.sparse_attention import BlockSparseAttention

#: Fields of `sparse_attention_config`, as checkpoints nest them, and what transformers calls them.
_INDEX = {
    "index_n_heads": "sparse_num_index_heads",
    "index_head_dim": "sparse_index_dim",
    "index_block_size": "sparse_block_size",
    "index_topk_blocks": "sparse_topk_blocks",
}


def minimax_m3(f: Fields) -> Architecture:
    """Norms on each head of Q and K; `layer_types` or `sparse_attention_freq` say where attention is sparse."""
    dims, width = read_dims(f), f.dim("hidden_size")
    nested = f.sub("sparse_attention_config", model_type="sparse_attention_config")
    sizes = {name: nested.integer(old, default=f.integer(name)) for name, old in _INDEX.items()}
    shape: dict[str, Any] = {
        "width": width,
        "heads": dims.heads,
        "kv_heads": dims.kv_heads,
        "head_dim": dims.head_dim,
        "extra_params": dims.qk_norm_per_head,
    }
    full = Attention(**shape)
    sparse = BlockSparseAttention(
        **shape,
        block=sizes["index_block_size"],
        top_blocks=sizes["index_topk_blocks"],
        index_heads=sizes["index_n_heads"],
        index_dim=sizes["index_head_dim"],
    )
    experts, top_k = experts_of(f, "num_local_experts", "num_experts")
    moe = Moe(
        width=width,
        hidden=f.dim("intermediate_size"),
        experts=experts,
        top_k=top_k,
        shared=f.integer("shared_intermediate_size"),
    )
    dense = Mlp(width=width, hidden=f.integer("dense_intermediate_size"))
    sparse_layers = _switches(nested, "sparse_attention_freq", dims.depth)
    kinds = layer_kinds(
        f,
        dims.depth,
        lambda i: "minimax_m3_sparse" if sparse_layers and sparse_layers[i] else "full_attention",
        ("full_attention", "minimax_m3_sparse"),
    )
    moe_layers = _switches(f, "moe_layer_freq", dims.depth)
    spelled = ["sparse" if on else "dense" for on in moe_layers or [1] * dims.depth]
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for kind, mlp_kind in zip(kinds, named_kinds(f, "mlp_layer_types", dims.depth, spelled), strict=True):
        picks = kind == "minimax_m3_sparse"
        ffn: Block = moe if mlp_kind == "sparse" else dense
        label = ("sparse" if picks else "full") + (".moe" if ffn is moe else ".dense")
        norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
        layers.append((label, (*norms, sparse if picks else full, ffn)))
    return plain_decoder(
        f, "minimax_m3", layers, vocab=dims.vocab, width=width, heads=dims.heads, kv_heads=dims.kv_heads
    )


def _switches(f: Fields, name: str, depth: int) -> list[int] | None:
    """A list of zeros and ones, one for each layer; None where it is absent."""
    values = f.indices(name)
    if values is not None and len(values) != depth:
        raise f.wrong(name, f"lists {len(values)} layers, but there are {depth}")
    return values
