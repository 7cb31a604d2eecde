"""Muse Spark: gated attention, experts on a narrower projection, and an encoder of the waveform of sound."""

from __future__ import annotations

from math import prod

import attrs

from nsys_pipeline.model.architecture import Architecture, AudioEncoder, Layers, Stack
from nsys_pipeline.model.blocks import Block, Linear, Mlp, Moe, Norm, OnTokens
from nsys_pipeline.model.families.common import DecoderSpec, read_dims, sliding
from nsys_pipeline.model.families.moe import experts_of, named_kinds
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION, AUDIO, VISION

#: Samples of a frame of 10 ms (transformers, feature_extraction_muse_spark.py: 24 kHz).
_SAMPLES = 240


def muse_spark_text(f: Fields) -> Architecture:
    """Muse Glimmer with experts, a trained gate on each residual, and a norm of a block's output that has no weights.

    Three sliding layers to a full one, which comes last.
    """
    dims, bias = read_dims(f), f.flag("attention_bias")
    experts, top_k = experts_of(f, "num_local_experts")
    latent = f.integer("moe_hidden_size")
    moe = Moe(width=dims.width, hidden=f.integer("moe_intermediate_size"), experts=experts, top_k=top_k, latent=latent)
    kinds = named_kinds(f, "mlp_layer_types", dims.depth, ["sparse"] * dims.depth)
    dense = Mlp(width=dims.width, hidden=f.dim("intermediate_size"))
    gate = Linear("attention_gate", dims.heads * dims.head_dim, dims.width, role=ATTENTION)
    gates = Norm("residual_gates", 2 * dims.width, 2 * dims.width)
    spec = DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        norms=3,
        windows=sliding(f, dims.depth, lambda index: (dims.depth - 1 - index) % 4 != 0),
        ffn=lambda index: ("dense", dense) if kinds[index] == "dense" else ("moe", moe),
        more=(gate, gates),
        tied=f.flag("tie_word_embeddings"),
    )
    model = spec.build("muse_spark")
    return attrs.evolve(model, decoder=_with_norms_of_experts(spec.stack(), Norm("expert_norms", latent, 2 * latent)))


def _with_norms_of_experts(stack: Stack, norms: Norm) -> Stack:
    """The same stack with norms before and behind the experts of layers that have some."""
    layers = tuple(
        attrs.evolve(group, blocks=(*group.blocks, norms)) if isinstance(group.blocks[-1], Moe) else group
        for group in stack.layers
    )
    return attrs.evolve(stack, layers=layers)


@attrs.frozen(kw_only=True)
class _Waveform(AudioEncoder):
    """An encoder of samples, of which `over` are one token; the last ones are filled up."""

    over: int

    def tokens(self, frames: int) -> int:
        return -(-frames * _SAMPLES // self.over)

    def lengths(self, frames: int) -> tuple[int, ...]:
        return (self.tokens(frames),)


def muse_spark_audio(a: Fields) -> AudioEncoder:
    """Stages of causal convolutions, of one filter for each value, and MLPs; each merges what the one before left."""
    pieces, widths, depths = (a.indices(name) or [] for name in ("patch_sizes", "hidden_sizes", "depths"))
    pieces, widths, depths = pieces or [16, 6, 5, 4], widths or [256, 512, 1024, 2048], depths or [2, 2, 2, 2]
    if not len(pieces) == len(widths) == len(depths) or 0 in (*pieces, *widths):
        raise a.wrong("patch_sizes", "`hidden_sizes` and `depths` must list one number above zero for each stage")
    ratio, kernel = a.ratio("mlp_ratio", default=4.0), a.integer("conv_kernel_size", default=7)
    groups: list[Layers] = []
    inputs = 1
    for index, (piece, width, depth) in enumerate(zip(pieces, widths, depths, strict=True)):
        merged = (Linear("merged", width, piece * inputs, width, role=VISION), Norm("merged_norm", width, width))
        block: tuple[Block, ...] = (
            # One filter for each value: as many products as a matrix of that shape has.
            Linear("conv", width, kernel, width, role=VISION),
            Norm("mlp_norm", width, width),
            Mlp(width=width, hidden=int(width * ratio), gated=False, bias=True, role=VISION),
        )
        times = prod(pieces[index + 1 :])
        groups.append(Layers(f"{AUDIO}.stage{index}.merge", (0,), (OnTokens(blocks=merged, times=times),)))
        if depth:
            ids = tuple(range(depth))
            groups.append(Layers(f"{AUDIO}.stage{index}", ids, (OnTokens(blocks=block, times=times),)))
        inputs = width
    out = a.integer("out_hidden_size")
    after = (
        Norm("post_norm", inputs, inputs),
        Linear("projector", out, inputs, out, role=VISION),
        Norm("projector_norm", out, out),
    )
    return _Waveform(stack=Stack(AUDIO, tuple(groups), (), after), over=prod(pieces))
