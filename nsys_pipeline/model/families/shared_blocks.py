"""Weights that several layers share: Zamba's attention blocks among Mamba layers, and HRM's two stacks."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block, Linear, Mlp, Norm
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Dims, Verified
from nsys_pipeline.model.families.hybrid import assemble
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION
from nsys_pipeline.model.recurrent import Projection, Recurrent, mamba2


@attrs.frozen
class Reused(Block):
    """A block whose weights an earlier layer has already stored and read."""

    block: Block

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        start = len(emit.ops)
        self.block.token_ops(emit, run)
        emit.ops[start:] = [attrs.evolve(op, weight_bytes=0) for op in emit.ops[start:]]

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        self.block.context_ops(emit, run)


def zamba(f: Fields) -> Architecture:
    """One shared attention block over hidden states and embeddings side by side, in front of some Mamba layers."""
    width, depth, vocab = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("vocab_size")
    heads = f.dim("num_attention_heads")
    period, offset = f.integer("attn_layer_period", default=6), f.integer("attn_layer_offset", default=4, minimum=0)
    inputs = f.opt_int("attention_hidden_size") or 2 * width
    head_dim = f.opt_int("attention_head_dim") or f.divides("2 x hidden_size", 2 * width, "num_attention_heads", heads)
    dims = Dims(width, depth, heads, f.integer("num_key_value_heads", default=heads), head_dim, vocab)
    f.divides("num_attention_heads", heads, "num_key_value_heads", dims.kv_heads)
    rank = f.get("mamba_dt_rank")
    mixer = _multi_head_mamba(
        f, width, heads=f.integer("n_mamba_heads", default=2),
        rank=-(-width // 16) if rank in (None, "auto") else f.integer("mamba_dt_rank"),
    )  # fmt: skip
    kinds = _kinds(f, depth, lambda i: i == 2 or (i > 2 and (i - 3) % period == offset))
    shared = _shared(dims, inputs, f.dim("intermediate_size"), bias=False)
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for hybrid, first in _first_uses(kinds, 1):
        blocks: tuple[Block, ...] = (Norm("norm", width, width), mixer)
        if hybrid:
            own = shared if first else tuple(Reused(block) for block in shared)
            blocks = (*own, Linear("shared_output", width, width), *blocks)
        layers.append((_label(hybrid, first), blocks))
    return assemble(f, "zamba", dims, layers)


def zamba2(f: Fields) -> Architecture:
    """Mamba 2, and `num_mem_blocks` shared blocks in turn, each use with low-rank adapters of its own."""
    width, depth, vocab = f.dim("hidden_size"), f.dim("num_hidden_layers"), f.dim("vocab_size")
    heads, bias = f.dim("num_attention_heads"), f.flag("add_bias_linear")
    head_dim = f.divides("2 x hidden_size", 2 * width, "num_attention_heads", heads)
    dims = Dims(width, depth, heads, f.integer("num_key_value_heads", default=heads), head_dim, vocab)
    f.divides("num_attention_heads", heads, "num_key_value_heads", dims.kv_heads)
    hidden = f.opt_int("intermediate_size") or 4 * width
    inner, mamba_heads = int(f.ratio("mamba_expand", default=2) * width), f.integer("n_mamba_heads", default=8)
    mixer = mamba2(
        width=width,
        heads=mamba_heads,
        head_dim=f.divides("mamba_expand x hidden_size", inner, "n_mamba_heads", mamba_heads),
        state=f.integer("mamba_d_state"),
        groups=f.integer("mamba_ngroups", default=1),
        kernel=f.integer("mamba_d_conv", default=4),
        bias=bias,
        conv_bias=True,
    )
    default = {6, 12, 18, 24, 30, 36, 42, 47, 51}
    kinds = _kinds(f, depth, lambda i: i in default)
    shared = _shared(dims, 2 * width, hidden, bias=bias)
    rank = f.integer("adapter_rank", default=128)
    adapters: list[Block] = [Linear("adapter_gate_up_1", rank, width), Linear("adapter_gate_up_2", 2 * hidden, rank)]
    if f.flag("use_shared_attention_adapter"):
        for name, size in (("q", dims.heads), ("k", dims.kv_heads), ("v", dims.kv_heads)):
            adapters.append(Linear(f"adapter_{name}_1", rank, 2 * width, role=ATTENTION))
            adapters.append(Linear(f"adapter_{name}_2", size * head_dim, rank, role=ATTENTION))
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for hybrid, first in _first_uses(kinds, f.integer("num_mem_blocks", default=1)):
        blocks: tuple[Block, ...] = (Norm("norm", width, width), mixer)
        if hybrid:
            own = shared if first else tuple(Reused(block) for block in shared)
            blocks = (*own, *adapters, Linear("shared_output", width, width), *blocks)
        layers.append((_label(hybrid, first), blocks))
    return assemble(f, "zamba2", dims, layers)


def _label(hybrid: bool, first: bool) -> str:
    return "mamba" if not hybrid else "hybrid" if first else "hybrid.reused"


def _first_uses(hybrid_layers: list[bool], blocks: int) -> list[tuple[bool, bool]]:
    """For each layer: whether it has a shared block, and whether it is the first one with that block."""
    seen, result = 0, []
    for hybrid in hybrid_layers:
        seen += hybrid
        result.append((hybrid, hybrid and seen <= blocks))
    return result


def _kinds(f: Fields, depth: int, is_hybrid: Callable[[int], bool]) -> list[bool]:
    """Whether each layer has a shared block in front of it."""
    kinds = f.items("layers_block_type", "layer_types")
    if kinds is None:
        return [is_hybrid(index) for index in range(depth)]
    if len(kinds) != depth:
        raise f.wrong("layers_block_type", f"lists {len(kinds)} layers, but there are {depth}")
    unknown = sorted({str(kind) for kind in kinds} - {"hybrid", "mamba", "linear_attention"})
    if unknown:
        raise f.wrong("layers_block_type", f"names kinds that are not known: {', '.join(unknown)}")
    return [kind == "hybrid" for kind in kinds]


def _shared(dims: Dims, inputs: int, hidden: int, *, bias: bool) -> tuple[Block, ...]:
    attention = Attention(
        width=inputs, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim, out_width=dims.width
    )
    return (
        Norm("attention_norm", inputs, inputs),
        attention,
        Norm("mlp_norm", dims.width, dims.width),
        Mlp(width=dims.width, hidden=hidden, bias=bias),
    )


def _multi_head_mamba(f: Fields, width: int, *, heads: int, rank: int) -> Recurrent:
    """Mamba 1 whose channels are split into `heads`, each with B, C and a step of its own."""
    inner, state = f.integer("mamba_expand", default=2) * width, f.integer("mamba_d_state", default=16)
    size = f.divides("mamba_expand x hidden_size", inner, "n_mamba_heads", heads)
    bias = f.flag("mamba_proj_bias")
    return Recurrent(
        projections=(
            Projection("in_proj", 2 * inner, width, bias),
            # Both are applied outside any module.
            Projection("x_proj_heads", heads * (rank + 2 * state), size),
            Projection("dt_proj", inner, rank, bias=True),
        ),
        out=Projection("out_proj", width, inner, bias),
        conv_channels=inner,
        conv_kernel=f.integer("mamba_d_conv", default=4),
        conv_bias=f.flag("mamba_conv_bias", default=True),
        state=inner * state,
        scan_flops=4 * inner * state,
        small_params=inner * state + inner,
    )


def hrm_text(f: Fields) -> Architecture:
    """HRM: two stacks of layers, of which the low one runs `L_cycles` times before the high one, `H_cycles` times over.

    Each run has a cache of its own. `num_hidden_layers` counts the layers of one stack, or with
    `num_layers_per_stack`, as transformers saves it, all runs.
    """
    width, heads, counted = f.dim("hidden_size"), f.dim("num_attention_heads"), f.dim("num_hidden_layers")
    high, low = f.integer("H_cycles"), f.integer("L_cycles")
    each = f.opt_int("num_layers_per_stack")
    if each is not None and counted != each * high * (low + 1):
        raise f.wrong("num_hidden_layers", f"is {counted}, but {each} layers run {high * (low + 1)} times")
    depth = each or counted
    bias, mlp_bias, inner = f.flag("attention_bias"), f.flag("mlp_bias"), heads * f.integer("head_dim")
    norms = (Norm("attention_norm", width, 0), Norm("mlp_norm", width, 0))
    attention = Attention(
        width=width, heads=heads, kv_heads=heads, head_dim=inner // heads, q_bias=bias, kv_bias=bias, o_bias=bias
    )
    gate = Linear("attention_gate", inner, width, inner * bias, role=ATTENTION)
    own = (*norms, attention, gate, Mlp(width=width, hidden=f.dim("intermediate_size"), bias=mlp_bias))
    again = tuple(Reused(block) for block in own)
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for cycle in range(high):
        for name, times in (("low", low), ("high", 1)):
            for run in range(times):
                first = cycle == run == 0
                layers += [(name if first else f"{name}.again", own if first else again)] * depth
    dims = Dims(width, len(layers), heads, heads, inner // heads, f.dim("vocab_size"))
    # The low stack starts from a trained vector.
    return attrs.evolve(assemble(f, "hrm_text", dims, layers, final_norm=False), unused_params=width)


SHARED: dict[str, Builder] = {"hrm_text": Verified(hrm_text), "zamba": zamba, "zamba2": zamba2}
