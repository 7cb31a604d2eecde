"""dots3.note: latent attention, of which most layers have a window and sizes of their own."""

from __future__ import annotations

from typing import Any

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Block, LatentAttention, Linear, Mlp, Moe, Norm
from nsys_pipeline.model.families.common import layer_kinds, layer_overrides, per_layer, plain_decoder
from nsys_pipeline.model.families.moe import experts_of, named_kinds
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION
from nsys_pipeline.model.sparse_attention import SparseLatentAttention

#: Sizes of layers that slide, if a config has none (transformers, configuration_dots3_note.py).
_SLIDING = {
    "num_attention_heads": 64, "num_key_value_heads": 64, "q_lora_rank": 1024, "kv_lora_rank": 1024, "head_dim": 256,
    "qk_nope_head_dim": 192, "v_head_dim": 128,
}  # fmt: skip
_KINDS = ("full_attention", "indexed_attention", "sliding_attention")


def dots3_note_text(f: Fields) -> Architecture:
    """DeepSeek-V3.2's layers with a gate on each head and a norm of rotary keys; three of four layers slide."""
    width, depth = f.dim("hidden_size"), f.dim("num_hidden_layers")
    sizes = _sizes(f, depth, _attention_kinds(f, depth))
    experts, top_k = experts_of(f, "n_routed_experts", "num_local_experts")
    old = "moe_shared_expert_intermediate_size"
    shared = f.integer(old if f.has(old) else "shared_experts_intermediate_size", default=1536)
    moe = Moe(
        width=width,
        hidden=f.dim("moe_intermediate_size"),
        experts=experts,
        top_k=top_k,
        shared=shared * f.integer("n_shared_experts", default=1),
    )
    dense = Mlp(width=width, hidden=f.dim("intermediate_size"))
    norms = (Norm("attention_norm", width, width), Norm("mlp_norm", width, width))
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for (kind, own), mlp_kind in zip(sizes, _mlp_kinds(f, depth), strict=True):
        attention = _attention(own, kind, width)
        gate = Linear("attention_gate", attention.heads, width, role=ATTENTION)
        label = f"{kind.removesuffix('_attention')}.{'moe' if mlp_kind == 'sparse' else 'dense'}"
        layers.append((label, (*norms, attention, gate, moe if mlp_kind == "sparse" else dense)))
    heads = f.dim("num_attention_heads")
    return plain_decoder(
        f, "dots3_note_text", layers, vocab=f.dim("vocab_size"), width=width, heads=heads, kv_heads=heads
    )


def _attention(f: Fields, kind: str, width: int) -> LatentAttention:
    common: dict[str, Any] = {
        "width": width,
        "heads": f.dim("num_attention_heads"),
        "q_rank": f.dim("q_lora_rank"),
        "kv_rank": f.dim("kv_lora_rank"),
        "nope_dim": f.dim("qk_nope_head_dim"),
        "rope_dim": f.dim("qk_rope_head_dim"),
        "value_dim": f.dim("v_head_dim"),
        "bias": f.flag("attention_bias"),
        "extra_params": f.dim("qk_rope_head_dim"),
    }
    if kind == "indexed_attention":
        return SparseLatentAttention(
            **common,
            top_keys=f.integer("index_topk"),
            index_heads=f.integer("index_n_heads"),
            index_dim=f.integer("index_head_dim"),
        )
    window = f.get("sliding_window", "sliding_window_size", default=512) if kind == "sliding_attention" else None
    return LatentAttention(**common, window=None if window is None else f.checked("sliding_window", window))


def _attention_kinds(f: Fields, depth: int) -> list[str]:
    """What each layer attends to; older configs say by `use_dsa` whether an indexer picks the keys of full ones."""
    indexed = f.flag("use_dsa", default=True)
    slides = f.flag("use_sliding_window", default=True)
    full = "indexed_attention" if indexed else "full_attention"
    kinds = layer_kinds(f, depth, lambda i: full if not slides or i < 2 or i % 4 == 1 else "sliding_attention", _KINDS)
    if not f.has("use_dsa") and f.has("per_layer_config"):
        return kinds
    return [kind if kind == "sliding_attention" else full for kind in kinds]


def _sizes(f: Fields, depth: int, kinds: list[str]) -> list[tuple[str, Fields]]:
    """Kind and fields of each layer."""
    if f.has("per_layer_config"):
        read = (*_SLIDING, "qk_rope_head_dim")
        return list(zip(kinds, layer_overrides(f, depth, *read) or [f] * depth, strict=True))
    own = {name: f.integer(f"swa_{name}", default=usual) for name, usual in _SLIDING.items()}
    rope = f.integer("swa_qk_rope_head_dim", default=max(1, own["head_dim"] - own["qk_nope_head_dim"]))
    sliding = f.replaced(**own, qk_rope_head_dim=rope)
    return [(kind, sliding if kind == "sliding_attention" else f) for kind in kinds]


def _mlp_kinds(f: Fields, depth: int) -> list[str]:
    first, freq = f.integer("first_k_dense_replace", default=1, minimum=0), f.get("moe_layer_freq", default=1)
    if isinstance(freq, list | tuple):
        on = [bool(one) for one in per_layer(f, "moe_layer_freq", depth) or [True] * depth]
    else:
        every = f.checked("moe_layer_freq", freq)
        on = [index % every == 0 for index in range(depth)]
    default = ["sparse" if index >= first and on[index] else "dense" for index in range(depth)]
    return named_kinds(f, "mlp_layer_types", depth, default)
