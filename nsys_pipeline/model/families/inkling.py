"""Inkling: relative positions from a product, short convolutions on keys, values and what each block adds."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Embedding, Head, Linear, Mlp, Moe, Norm
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import layer_kinds
from nsys_pipeline.model.families.moe import experts_of, mlp_kinds
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION, ROUTER
from nsys_pipeline.model.recurrent import ResidualConvolution


@attrs.frozen
class RelativeBias(Block):
    """A bias for each of `extent` distances, from `rank` values per token and head; all distances are computed."""

    heads: int
    rank: int
    extent: int

    @property
    def params(self) -> int:
        return self.rank * self.extent

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        rows = run.tokens * self.heads
        emit.add(
            "gemm", "relative_bias", m=rows, n=self.extent, k=self.rank, flops=2 * rows * self.extent * self.rank,
            weight=emit.tp * emit.plain_bytes(self.params) if rows else 0,
            activation=emit.plain_bytes(rows * (self.rank + self.extent)),
        )  # fmt: skip


def head_sizes(f: Fields, *, slides: bool) -> tuple[int, int, int]:
    """Heads of a layer, those of its keys, and their width, which layers that slide have fields of their own for."""
    prefix = "swa_" if slides else ""
    heads, head_dim = f.integer(f"{prefix}num_attention_heads"), f.integer(f"{prefix}head_dim")
    kv_heads = f.integer(f"{prefix}num_key_value_heads")
    f.divides(f"{prefix}num_attention_heads", heads, f"{prefix}num_key_value_heads", kv_heads)
    return heads, kv_heads, head_dim


def inkling_text(f: Fields) -> Architecture:
    """Five sliding layers to a full one, with heads of their own; a router that weighs the shared experts too."""
    width, depth, vocab = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("vocab_size")
    window, rank = f.integer("sliding_window_size"), f.integer("d_rel")
    kernel = f.integer("conv_kernel_size", "sconv_kernel_size")
    local = f.indices("local_layer_ids")
    sliding = set(local) if local is not None else {index for index in range(depth) if (index + 1) % 6}
    kinds = layer_kinds(
        f, depth, lambda index: "hybrid_sliding" if index in sliding else "hybrid", ("hybrid", "hybrid_sliding")
    )
    # Older configs name the experts' size plainly, and the dense layers' apart.
    hidden, expert_hidden = f.dim("intermediate_size"), f.integer("moe_intermediate_size")
    if f.has("dense_intermediate_size"):
        hidden, expert_hidden = f.dim("dense_intermediate_size"), hidden
    experts, top_k = experts_of(f, "n_routed_experts", "num_local_experts")
    shared = f.integer("n_shared_experts", minimum=0)
    sparse: tuple[Block, ...] = (
        Moe(
            width=width, hidden=expert_hidden, experts=experts, top_k=top_k, shared=shared * expert_hidden,
            router_bias=1,
        ),
        Linear("shared_router", shared, width, role=ROUTER),
    )  # fmt: skip
    dense: tuple[Block, ...] = (Mlp(width=width, hidden=hidden, extra_params=1),)
    convolutions = tuple(ResidualConvolution(name, width, kernel) for name in ("attention_conv", "mlp_conv"))
    layers: list[tuple[str, tuple[Block, ...]]] = []
    dense_layers = f.integer("dense_mlp_idx", default=0, minimum=0)
    for kind, mlp_kind in zip(kinds, mlp_kinds(f, depth, dense_layers), strict=True):
        slides = kind == "hybrid_sliding"
        heads, kv_heads, head_dim = head_sizes(f, slides=slides)
        attention = Attention(
            width=width,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            extra_params=2 * head_dim,
            window=window if slides else None,
        )
        blocks: tuple[Block, ...] = (
            Norm("attention_norm", width, width),
            Norm("mlp_norm", width, width),
            attention,
            Linear("relative_states", heads * rank, width, role=ATTENTION),
            RelativeBias(heads, rank, window if slides else f.integer("rel_extent")),
            ResidualConvolution("kv_conv", 2 * kv_heads * head_dim, kernel),
            *convolutions,
            *(sparse if mlp_kind == "sparse" else dense),
        )
        label = ("sliding" if slides else "full") + (".moe" if mlp_kind == "sparse" else ".dense")
        layers.append((label, blocks))
    stack = Stack(
        "decoder",
        group_layers("layers", layers),
        (Embedding("embed", vocab, width, tied=f.flag("tie_word_embeddings")), Norm("embed_norm", width, width)),
        (Norm("final_norm", width, width), Head(vocab, width)),
    )
    heads, kv_heads = f.integer("num_attention_heads"), f.integer("num_key_value_heads")
    return Architecture(family="inkling_text", decoder=stack, heads=heads, kv_heads=kv_heads)
