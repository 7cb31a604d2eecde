"""Step 3: queries of low rank. Step 3.5 and 3.7: sliding layers with query heads of their own number, and gates."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block, Linear, Mlp, Moe, Norm
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import layer_kinds, layer_overrides, plain_decoder, read_dims, read_window
from nsys_pipeline.model.families.moe import experts_of, named_kinds
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION


@attrs.frozen(kw_only=True)
class LowRankQueryAttention(Attention):
    """Multi-matrix factorization attention (arXiv 2412.19255): queries come from `q_rank` values, which are normed."""

    q_rank: int

    @property
    def params(self) -> int:
        return super().params - self._q_out * self.width + self.q_rank * (self.width + 1 + self._q_out)

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        tokens, kv_copies = run.tokens, max(1, emit.tp // self.kv_heads)
        emit.gemm("q_a", self.role, tokens, self.q_rank, self.width, replicas=emit.tp)
        emit.norm("q_a_norm", self.q_rank, tokens * self.q_rank)
        emit.gemm("q_b", self.role, tokens, self._q_out, self.q_rank)
        emit.gemm("kv", self.role, tokens, self._k_out + self._v_out, self.width, replicas=kv_copies)
        emit.gemm("o", self.role, tokens, self.width, self.heads * self._v_dim)
        emit.all_reduce("attention_all_reduce", tokens * self.width)


def step3(f: Fields) -> Architecture:
    """Step 3: heads that share one K and V, and experts beside a shared one in the layers of `moe_layers_enum`."""
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    kv_heads = f.dim("num_attention_groups")
    f.divides("num_attention_heads", heads, "num_attention_groups", kv_heads)
    experts, top_k = experts_of(f, "moe_num_experts", picked="moe_top_k")
    if not f.has("moe_layers_enum"):
        raise f.missing("moe_layers_enum")
    attention = LowRankQueryAttention(
        width=width, heads=heads, kv_heads=kv_heads, head_dim=f.dim("head_dim"), q_rank=f.dim("share_q_dim")
    )
    moe = Moe(
        width=width, hidden=f.dim("moe_intermediate_size"), experts=experts, top_k=top_k,
        shared=f.dim("share_expert_dim"),
    )  # fmt: skip
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"))
    norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
    listed = _moe_layers(f, depth)
    layers: list[tuple[str, tuple[Block, ...]]] = [
        ("moe", (*norms, attention, moe)) if index in listed else ("dense", (*norms, attention, dense))
        for index in range(depth)
    ]
    return plain_decoder(f, "step3", layers, vocab=f.dim("vocab_size"), width=width, heads=heads, kv_heads=kv_heads)


def step3p5(f: Fields) -> Architecture:
    """Lists may go on for layers of multi-token prediction, which are not read."""
    f = f.replaced(**{name: _without_mtp(f, name) for name in ("layer_types", "mlp_layer_types") if f.has(name)})
    dims, bias = read_dims(f), f.flag("attention_bias")
    width, mlp_bias = dims.width, f.flag("mlp_bias")
    experts, top_k = experts_of(f, "n_routed_experts")
    moe = Moe(
        width=width,
        hidden=f.dim("moe_intermediate_size"),
        experts=experts,
        top_k=top_k,
        shared=f.dim("share_expert_dim"),
        shared_bias=mlp_bias,
    )
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"), bias=mlp_bias)
    other = f.sub("attention_other_setting", model_type="step3p5_sliding")
    sliding_heads = f.opt_int("num_sliding_attention_heads")
    if sliding_heads is None:
        sliding_heads = other.integer("num_attention_heads", default=dims.heads)
    listed = _moe_layers(f, dims.depth)
    spelled = ["sparse" if index in listed else "dense" for index in range(dims.depth)]
    kinds = layer_kinds(f, dims.depth, lambda _: "full_attention")
    window = read_window(f) if "sliding_attention" in kinds else None
    overrides = layer_overrides(f, dims.depth, "num_attention_heads")
    layers: list[tuple[str, tuple[Block, ...]]] = []
    mlp_kinds = named_kinds(f, "mlp_layer_types", dims.depth, spelled)
    for index, (kind, mlp_kind) in enumerate(zip(kinds, mlp_kinds, strict=True)):
        slides = kind == "sliding_attention"
        heads = sliding_heads if slides else dims.heads
        if overrides is not None:
            heads = overrides[index].dim("num_attention_heads")
        f.divides("num_sliding_attention_heads", heads, "num_key_value_heads", dims.kv_heads)
        attention = Attention(
            width=width,
            heads=heads,
            kv_heads=dims.kv_heads,
            head_dim=dims.head_dim,
            q_bias=bias,
            kv_bias=bias,
            o_bias=bias,
            extra_params=dims.qk_norm_per_head,
            window=window if slides else None,
        )
        norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
        gate = Linear("attention_gate", heads, width, role=ATTENTION)
        label = ("sliding" if slides else "full") + (".moe" if mlp_kind == "sparse" else ".dense")
        layers.append((label, (*norms, attention, gate, moe if mlp_kind == "sparse" else dense)))
    return plain_decoder(f, "step3p5", layers, vocab=dims.vocab, width=width, heads=dims.heads, kv_heads=dims.kv_heads)


def _without_mtp(f: Fields, name: str) -> list[object]:
    depth, more = f.dim("num_hidden_layers"), f.integer("num_nextn_predict_layers", default=0, minimum=0)
    values = f.items(name) or []
    return values[:depth] if len(values) == depth + more else values


def _moe_layers(f: Fields, depth: int) -> set[int]:
    """`moe_layers_enum`, a list of layers or one string of them; without it all but the first three."""
    value = f.get("moe_layers_enum")
    if value is None:
        return set(range(3, depth))
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not all(part.isdecimal() for part in parts):
            raise f.wrong("moe_layers_enum", f"is {value[:60]!r}, no list of layers")
        return {int(part) for part in parts}
    return set(f.indices("moe_layers_enum") or [])
