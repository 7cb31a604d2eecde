"""Llama-Nemotron (Super, Ultra) and DeciLM: Llama after an architecture search, each layer with blocks of its own."""

from __future__ import annotations

from collections.abc import Mapping

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block, Linear, Mlp, Norm
from nsys_pipeline.model.families.common import plain_decoder
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION

#: MLPs are rounded up to multiples of this.
_MULTIPLE = 256


def nemotron_nas(f: Fields) -> Architecture:
    """`block_configs` says for each layer how many query heads share a K and V head, and how wide the MLP is.

    Attention and MLP of a layer may each be absent together with its norm, or be one linear layer. DeciLM's older
    checkpoints list `num_key_value_heads_per_layer` instead.
    """
    width, depth, heads = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("num_attention_heads")
    head_dim = f.opt_int("head_dim") or f.divides("hidden_size", width, "num_attention_heads", heads)
    if f.has("block_configs"):
        layers = [_layer(layer, f, heads, head_dim) for layer in _listed(f, "block_configs", depth)]
    else:
        listed = [f.checked("num_key_value_heads_per_layer", kv) for kv in _kv_heads(f, depth)]
        mlp = _normed("mlp", width, Mlp(width=width, hidden=f.dim("intermediate_size"), bias=f.flag("mlp_bias")))
        layers = [
            (f"kv_{kv}", (*_normed("attention", width, _attention(f, heads, kv, head_dim)), *mlp)) for kv in listed
        ]
    most = max((block.kv_heads for _, blocks in layers for block in blocks if isinstance(block, Attention)), default=0)
    vocab = f.dim("vocab_size")
    return plain_decoder(f, f.model_type, layers, vocab=vocab, width=width, heads=heads, kv_heads=most)


def _kv_heads(f: Fields, depth: int) -> list[object]:
    values = f.items("num_key_value_heads_per_layer")
    if values is None:
        raise f.missing("block_configs")
    if len(values) != depth:
        raise f.wrong("num_key_value_heads_per_layer", f"lists {len(values)} layers, but there are {depth}")
    return values


def _listed(f: Fields, name: str, depth: int) -> list[Fields]:
    """The config of each layer."""
    values = f.items(name) or []
    if len(values) != depth:
        raise f.wrong(name, f"lists {len(values)} layers, but there are {depth}")
    if not all(isinstance(value, Mapping) for value in values):
        raise f.wrong(name, "is no list of objects, one for each layer")
    return [Fields(value, f.model_type, f"{name}[{index}]") for index, value in enumerate(values)]


def _attention(f: Fields, heads: int, kv_heads: int, head_dim: int) -> Attention:
    f.divides("num_attention_heads", heads, "num_key_value_heads", kv_heads)
    bias = f.flag("attention_bias")
    return Attention(
        width=f.dim("hidden_size"), heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_bias=bias, kv_bias=bias,
        o_bias=bias,
    )  # fmt: skip


def _normed(name: str, width: int, block: Block) -> tuple[Block, ...]:
    return Norm(f"{name}_norm", width, width), block


def _layer(layer: Fields, f: Fields, heads: int, head_dim: int) -> tuple[str, tuple[Block, ...]]:
    """Label and blocks of one layer."""
    width = f.dim("hidden_size")
    attention, ffn = (_part(layer, name) for name in ("attention", "ffn"))
    labels: list[str] = []
    blocks: list[Block] = []
    if attention.flag("replace_with_linear"):
        linear = Linear("attention_linear", width, width, width * f.flag("attention_bias"), role=ATTENTION)
        labels.append("linear")
        blocks += _normed("attention", width, linear)
    elif not attention.flag("no_op"):
        if attention.opt_int("window_length") is not None:
            raise attention.wrong("window_length", "makes attention slide, which is not supported for this model type")
        kv_heads = attention.divides(
            "num_attention_heads", heads, "n_heads_in_group", attention.dim("n_heads_in_group")
        )
        labels.append(f"kv_{kv_heads}")
        blocks += _normed("attention", width, _attention(f, heads, kv_heads, head_dim))
    if ffn.flag("replace_with_linear"):
        labels.append("mlp_linear")
        blocks += _normed("mlp", width, Linear("mlp_linear", width, width, width * f.flag("mlp_bias")))
    elif not ffn.flag("no_op"):
        hidden = ffn.checked("ffn_mult", int(2 * ffn.ratio("ffn_mult") * width / 3))
        hidden = _MULTIPLE * -(-hidden // _MULTIPLE)
        labels.append(f"mlp_{hidden}")
        blocks += _normed("mlp", width, Mlp(width=width, hidden=hidden, bias=f.flag("mlp_bias")))
    return ".".join(labels) or "empty", tuple(blocks)


def _part(layer: Fields, name: str) -> Fields:
    """`attention` or `ffn` of a layer, which is either absent or a linear layer, never both."""
    if not layer.has(name):
        raise layer.missing(name)
    part = layer.sub(name, model_type=layer.model_type)
    if part.get("sparsify"):
        raise part.wrong("sparsify", "is set, which is not supported for this model type")
    if part.flag("no_op") and part.flag("replace_with_linear"):
        raise part.wrong("no_op", "is true, and so is `replace_with_linear`")
    return part
