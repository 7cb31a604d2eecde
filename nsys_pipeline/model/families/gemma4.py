"""Gemma 4: two head sizes, layers that reuse another layer's keys and values, an embedding for each layer."""

from __future__ import annotations

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
from nsys_pipeline.model.blocks import Attention, Block, Embedding, Head, LastTokens, Linear, Mlp, Moe, Norm
from nsys_pipeline.model.families.common import every, layer_kinds, layer_overrides, read_dims, read_window
from nsys_pipeline.model.families.moe import experts_of
from nsys_pipeline.model.fields import Fields


def gemma4_text(f: Fields) -> Architecture:
    """Sliding layers as in Gemma 3; full ones with `global_head_dim`; the last layers have no K and V of their own."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    width, depth = dims.width, dims.depth
    pattern = every(f, depth, 6)
    kinds = layer_kinds(f, depth, lambda i: "sliding_attention" if pattern(i) else "full_attention")
    kinds[-1] = "full_attention"
    global_dim = f.integer("global_head_dim", default=512)
    same = f.flag("attention_k_eq_v")
    global_kv = f.opt_int("num_global_key_value_heads") if same else None
    first_shared = depth - f.integer("num_kv_shared_layers", default=0, minimum=0)
    hidden, wide = f.dim("intermediate_size"), f.flag("use_double_wide_mlp")
    per_layer = f.opt_int("hidden_size_per_layer_input") or 0
    experts = _experts(f, width) if f.flag("enable_moe_block") else None
    # transformers 5 saves what is special about full layers layer by layer instead.
    overrides = layer_overrides(f, depth, "head_dim", "num_key_value_heads")
    layers = []
    for index, kind in enumerate(kinds):
        sliding, shared = kind == "sliding_attention", index >= first_shared
        head_dim = dims.head_dim if sliding else global_dim
        kv_heads = dims.kv_heads if sliding or not global_kv else global_kv
        if overrides is not None:
            head_dim = overrides[index].integer("head_dim")
            kv_heads = overrides[index].integer("num_key_value_heads", default=dims.heads)
            f.divides("num_attention_heads", dims.heads, "per_layer_config.num_key_value_heads", kv_heads)
        attention = Attention(
            width=width,
            heads=dims.heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            q_bias=bias,
            kv_bias=bias,
            o_bias=bias,
            extra_params=head_dim if shared else 2 * head_dim,
            window=read_window(f) if sliding else None,
            images="ahead" if sliding else "causal",
            value_from_key=same and not sliding,
            shared_kv=shared,
        )
        mlp = Mlp(width=width, hidden=hidden * (2 if wide and shared else 1))
        norms = 4 + (3 if experts else 0) + (1 if per_layer else 0)
        blocks: list[Block] = [Norm(f"norm_{number}", width, width) for number in range(norms)]
        blocks += [attention, mlp, *([experts] if experts else [])]
        if per_layer:
            blocks += [Linear("layer_input_gate", per_layer, width), Linear("layer_input", width, per_layer)]
        label = ("sliding" if sliding else "full") + (".shared_kv" if shared else "") + (".moe" if experts else "")
        layers.append((label, (LastTokens(blocks=tuple(blocks)),) if shared else tuple(blocks)))
    before: list[Block] = [Embedding("embed", dims.vocab, width, tied=f.flag("tie_word_embeddings"))]
    if per_layer:
        rows = f.integer("vocab_size_per_layer_input")
        before += [
            Embedding("embed_per_layer", rows, depth * per_layer),
            Linear("per_layer_projection", depth * per_layer, width),
            Norm("per_layer_norm", depth * per_layer, per_layer),
        ]
    after = (Norm("final_norm", width, width), Head(dims.vocab, width))
    stack = Stack("decoder", group_layers("layers", layers), tuple(before), after)
    return Architecture(
        family="gemma4_text",
        decoder=stack,
        heads=dims.heads,
        kv_heads=dims.kv_heads,
        sees_whole_images=f.text("use_bidirectional_attention", default="no") == "vision",
    )


def _experts(f: Fields, width: int) -> Moe:
    """Experts beside the dense MLP; the router scales its input and its output."""
    experts, top_k = experts_of(f, "num_experts", picked="top_k_experts")
    return Moe(
        width=width,
        hidden=f.dim("moe_intermediate_size"),
        experts=experts,
        top_k=top_k,
        router_bias=width + experts,
    )
