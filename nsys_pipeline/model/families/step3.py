"""Step 3.5 and 3.7: sliding layers with query heads of their own number, a gate per head, a shared expert."""

from __future__ import annotations

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block, Linear, Mlp, Moe, Norm
from nsys_pipeline.model.families.common import layer_kinds, layer_overrides, plain_decoder, read_dims, read_window
from nsys_pipeline.model.families.moe import named_kinds
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION


def step3p5(f: Fields) -> Architecture:
    """Lists may go on for layers of multi-token prediction, which are not read."""
    f = f.replaced(**{name: _without_mtp(f, name) for name in ("layer_types", "mlp_layer_types") if f.has(name)})
    dims, bias = read_dims(f), f.flag("attention_bias")
    width, mlp_bias = dims.width, f.flag("mlp_bias")
    experts, top_k = f.dim("n_routed_experts"), f.dim("num_experts_per_tok")
    if top_k > experts:
        raise f.wrong("num_experts_per_tok", f"is {top_k}, but there are {experts} experts")
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
    overrides = layer_overrides(f, dims.depth)
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
