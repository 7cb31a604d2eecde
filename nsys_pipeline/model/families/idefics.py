"""IDEFICS: Llama whose layers alternate with gated ones that look at images, each resampled to a few latents."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack, group_layers
from nsys_pipeline.model.blocks import (
    Attention,
    Block,
    Constant,
    CrossAttention,
    Embedding,
    Head,
    Linear,
    Mlp,
    Norm,
    OnTokens,
    WithImages,
)
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Verified, read_dims
from nsys_pipeline.model.families.encoders import QueryAttention, clip_vision
from nsys_pipeline.model.families.towers import Tower, joined
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION
from nsys_pipeline.records import Step


@attrs.frozen(kw_only=True)
class _ResampledAgain(Block):
    """The `layers` of a resampler, each of `blocks`, which transformers runs again in each decode step.

    No model requires it, and their parameters are the tower's. `extra`: tokens of an image that are no patches.
    """

    blocks: tuple[Block, ...]
    layers: int
    extra: int

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        if run.first or not run.step.seen_images:
            return
        lengths = [height * width + self.extra for height, width in run.step.seen_images]
        inner = Pass(Step.ragged(lengths, [0] * len(lengths), 0), 0)
        first = len(emit.ops)
        for block in self.blocks:
            block.token_ops(emit, inner)
            block.context_ops(emit, inner)
        emit.ops[first:] = [
            attrs.evolve(
                op, flops_model=0, flops_executed=self.layers * op.flops_executed, weight_bytes=0, activation_bytes=0
            )
            for op in emit.ops[first:]
            if op.flops_executed
        ]


def idefics(f: Fields) -> Architecture:
    """IDEFICS (arXiv 2306.16527): CLIP, Flamingo's resampler if there is one, and cross-attention of its own layers.

    Their MLP runs in text-only passes, too. transformers caches no keys and values of images.
    """
    v = f.part("vision_config", "idefics_vision")
    dims = read_dims(f)
    width, seen = dims.width, v.integer("embed_dim")
    every = f.integer("cross_layer_interval", default=1)
    f.divides("num_hidden_layers", dims.depth, "cross_layer_interval", every)
    alphas = {"float": 1, "vector": width}.get(kind := f.text("alpha_type", default="float"))
    if alphas is None:
        raise f.wrong("alpha_type", f"is {kind!r}, neither `float` nor `vector`")
    attention = Attention(width=width, heads=dims.heads, kv_heads=dims.heads, head_dim=dims.head_dim)
    mlp = Mlp(width=width, hidden=f.dim("intermediate_size"))
    plain: tuple[Block, ...] = (
        Norm("attention_norm", width, width), attention, Norm("mlp_norm", width, width), mlp,
    )  # fmt: skip
    norms = 2 * dims.head_dim if f.flag("qk_layer_norms") else 0
    cross = CrossAttention(
        width=width, encoder_width=seen, heads=dims.heads, kv_heads=dims.heads, head_dim=dims.head_dim,
        extra_params=norms, is_cached=False,
    )  # fmt: skip
    gated: tuple[Block, ...] = (
        WithImages(blocks=(Norm("cross_norm", width, width), cross)),
        Norm("cross_mlp_norm", width, width),
        mlp,
        Constant("cross_gates", 2 * alphas),
    )
    layers = group_layers(
        "layers", [("", plain) if index % every else ("cross", (*gated, *plain)) for index in range(dims.depth)]
    )
    vision, again = _tower(f, v, seen)
    more = f.integer("additional_vocab_size", default=0, minimum=0)
    tied = f.flag("tie_word_embeddings")
    vocab = dims.vocab + more
    decoder = Stack(
        "decoder",
        layers,
        (Embedding("embed", vocab, width, tied=tied), *again),
        (Norm("final_norm", width, width), Head(vocab, width)),
    )
    text = Architecture(
        family="idefics", decoder=decoder, heads=dims.heads, kv_heads=dims.heads, cross_attends_to_images=True
    )
    return joined(f, text, vision)


def _tower(f: Fields, v: Fields, seen: int) -> tuple[Tower, tuple[Block, ...]]:
    """CLIP and the resampler, and what of it runs again in decode steps."""
    stack, tokens, extra = clip_vision(v)
    # The norm after it is of the class token alone, which nothing reads.
    groups = (*stack.layers, Layers("vision.norms", (0,), stack.after))
    if not f.flag("use_resampler"):
        return Tower(attrs.evolve(stack, layers=groups, after=()), seen, tokens, extra), ()
    p = f.part("perceiver_config", "idefics_perciever")
    latents, depth = p.integer("resampler_n_latents"), p.integer("resampler_depth")
    inner = p.integer("resampler_n_heads") * p.integer("resampler_head_dim")
    normed = 4 * p.integer("resampler_head_dim") if p.flag("qk_layer_norms_perceiver") else 0
    on_latents = (
        Norm("projector_norm", seen, 2 * seen),
        Constant("projector_qk_norm", normed),
        Linear("projector_q", inner, seen, role=VISION),
        Linear("projector_o", seen, inner, role=VISION),
        Norm("projector_mlp_norm", seen, 2 * seen),
        Mlp(width=seen, hidden=4 * seen, gated=False, label="projector_", role=VISION),
    )
    layer = (
        Norm("projector_context_norm", seen, 2 * seen),
        # Latents are keys, too.
        OnTokens(blocks=(Linear("projector_kv", 2 * inner, seen, role=VISION),), plus=latents),
        QueryAttention(inner, latents, own=True, name="projector_attention"),
        OnTokens(blocks=on_latents, fixed=latents),
    )
    after = (
        Constant("projector_latents", latents * seen),
        OnTokens(blocks=(Norm("projector_final_norm", seen, 2 * seen),), fixed=latents),
    )
    groups = (*groups, Layers("vision.perceiver", tuple(range(depth)), layer))
    tower = Tower(attrs.evolve(stack, layers=groups, after=after), seen, tokens, extra)
    return tower, (_ResampledAgain(blocks=layer, layers=depth, extra=extra),)


IDEFICS: dict[str, Builder] = {"idefics": Verified(idefics)}
