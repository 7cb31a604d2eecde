"""Models of images and text in which learned queries look at the patches: the decoder gets as many tokens."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture, Layers, Stack, group_layers
from nsys_pipeline.model.blocks import Around, Block, Constant, Linear, Mlp, Norm, OnTokens
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import (
    QueryAttention,
    attend,
    blip_patches,
    clip_vision,
    grid,
    placed_patches,
    siglip_vision,
    vision_encoder,
)
from nsys_pipeline.model.families.towers import Tower, joined, read_text, read_tower, text_width, two_layers
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION
from nsys_pipeline.records import Step


def idefics2(f: Fields) -> Architecture:
    """Idefics2 (arXiv 2405.02246): SigLIP on any size, a gated MLP, a perceiver whose latents look at the patches."""
    text = read_text(f, "mistral")
    v = f.part("vision_config", "idefics2_vision")
    p = f.part("perceiver_config", "idefics2_perceiver")
    spec, width = vision_encoder(v), text_width(text)
    inner = f.sub("text_config", model_type="mistral").dim("intermediate_size")
    latents, heads = p.integer("resampler_n_latents"), p.integer("resampler_n_heads")
    head_dim, kv_heads = p.integer("resampler_head_dim"), p.integer("num_key_value_heads")
    keys = Linear("projector_kv", 2 * kv_heads * head_dim, width, role=VISION)
    on_latents = (
        Norm("projector_norm", width, 2 * width),
        Linear("projector_q", heads * head_dim, width, role=VISION),
        Linear("projector_o", width, heads * head_dim, role=VISION),
        Mlp(width=width, hidden=4 * width, label="projector_", role=VISION),
    )
    layer = (
        Norm("projector_context_norm", width, width),
        # Latents are keys, too.
        OnTokens(blocks=(keys,), plus=latents),
        QueryAttention(heads * head_dim, latents, own=True, name="projector_attention"),
        OnTokens(blocks=on_latents, fixed=latents),
    )
    connector = (
        Norm("post_norm", spec.width, 2 * spec.width),
        Linear("projector_gate_up", 2 * inner, spec.width, role=VISION),
        Linear("projector_down", width, inner, role=VISION),
    )
    layers = (
        *spec.layers("vision.layers"),
        Layers("vision.connector", (0,), connector),
        Layers("vision.perceiver", tuple(range(p.integer("resampler_depth"))), layer),
    )
    final = OnTokens(blocks=(Norm("projector_final_norm", width, width),), fixed=latents)
    after = (Constant("projector_latents", latents * width), final)
    return joined(f, text, Tower(Stack("vision", layers, placed_patches(v), after), spec.width, None))


@attrs.frozen(kw_only=True)
class _OnQueries(OnTokens):
    """Blocks that run on as many queries as a table has for the patches of an image."""

    table: tuple[tuple[int, int], ...]

    def length(self, tokens: int) -> int:
        """Queries for an image of so many patches. Raises ModelError if the table has none."""
        # A pass of one token asks which weights there are.
        found = dict(self.table).get(tokens, tokens if tokens < 2 else None)
        if found is None:
            sizes = ", ".join(str(patches) for patches, _ in self.table)
            raise ModelError(f"an image of {tokens} patches has no number of queries; images here have {sizes}")
        return found


@attrs.frozen
class _TableAttention(Block):
    """The products of an image's queries with its patches."""

    width: int
    queries: _OnQueries

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        lengths = [(self.queries.length(tokens), tokens) for tokens in run.step.q_tokens]
        pairs = sum(queries * tokens for queries, tokens in lengths)
        attend(emit, "projector_attention", self.width, sum(queries for queries, _ in lengths), pairs)


def aria(f: Fields) -> Architecture:
    """Aria (arXiv 2410.05993): SigLIP; 128 or 256 queries look at its patches, by their number, then two layers."""
    text = read_text(f, "aria_text")
    v = f.part("vision_config", "idefics3_vision")
    stack, tokens, _ = siglip_vision(v.replaced(vision_use_head=False))
    width, out = v.dim("hidden_size"), text_width(text)
    told = f.get("projector_patch_to_query_dict", default={1225: 128, 4900: 256})
    if not isinstance(told, Mapping) or not told or not all(str(patches).isdecimal() for patches in told):
        raise f.wrong("projector_patch_to_query_dict", f"is {told!r}, no object of numbers of patches and queries")
    name = "projector_patch_to_query_dict"
    table = tuple(sorted((int(patches), f.checked(name, queries)) for patches, queries in told.items()))
    on_queries = _OnQueries(
        table=table,
        blocks=(
            Norm("projector_query_norm", width, 2 * width),
            Linear("projector_q", width, width, role=VISION),
            Linear("projector_q_in", width, width, width, role=VISION),
            Linear("projector_o", width, width, width, role=VISION),
            Linear("projector_attended", width, width, width, role=VISION),
            Norm("projector_norm", width, 2 * width),
            *two_layers(width, out, bias=False),
        ),
    )
    after = (
        *stack.after,
        Constant("projector_queries", max(queries for _, queries in table) * width),
        Norm("projector_patch_norm", width, 2 * width),
        Linear("projector_kv", 2 * width, width, role=VISION),
        # The attention of torch projects once more.
        Linear("projector_k_in", width, width, width, role=VISION),
        Linear("projector_v_in", width, width, width, role=VISION),
        _TableAttention(width, on_queries),
        on_queries,
    )
    return joined(f, text, Tower(attrs.evolve(stack, after=after), width, tokens))


def blip2(f: Fields) -> Architecture:
    """BLIP-2 (arXiv 2301.12597): a ViT, and a Q-Former whose queries look at its tokens in every other layer."""
    text = read_text(f, "opt")
    v = f.part("vision_config", "blip_2_vision_model")
    q = f.part("qformer_config", "blip_2_qformer")
    spec = attrs.evolve(vision_encoder(v), qkv_bias=v.flag("qkv_bias", default=True))
    side, _ = grid(v)
    tokens, queries, width = side * side + 1, f.integer("num_query_tokens", default=32), q.integer("hidden_size")
    layers = qformer_layers(q, spec.width, queries)
    projector = Linear("projector", text_width(text), width, text_width(text), role=VISION)
    after = (Constant("projector_queries", queries * width), OnTokens(blocks=(projector,), fixed=queries))
    norms = (
        Norm("post_norm", spec.width, 2 * spec.width),
        OnTokens(blocks=(Norm("projector_norm", width, 2 * width),), fixed=queries),
    )
    groups = (*spec.layers("vision.layers"), Layers("vision.norms", (0,), norms), *layers)
    return joined(f, text, Tower(Stack("vision", groups, blip_patches(v), after), spec.width, tokens, 1))


@attrs.frozen(kw_only=True)
class OncePerPass(Around):
    """Blocks that run on one set of queries in a pass, whatever its sequences: all start with the same ones."""

    queries: int

    def _inner(self, run: Pass) -> Pass:
        sets = 1 if run.tokens else 0
        return attrs.evolve(run, step=Step.uniform(batch=sets, q_tokens=self.queries, logits=run.logits))


@attrs.frozen(kw_only=True)
class OnWindows(Around):
    """Blocks that run on each window of so many tokens, of which the last one is filled up."""

    window: int

    def _inner(self, run: Pass) -> Pass:
        windows = sum(-(-tokens // self.window) for tokens in run.step.q_tokens)
        return attrs.evolve(run, step=Step.uniform(batch=windows, q_tokens=self.window, logits=run.logits))


def qformer_layers(q: Fields, keys: int, queries: int, *, starts_once: bool = False) -> tuple[Layers, ...]:
    """BERT's layers on `queries` for each image; some have cross-attention to its tokens, of `keys` values.

    `starts_once`: up to the cross-attention of the first layer, the queries are run once for all sequences.
    """
    width, hidden = q.integer("hidden_size"), q.integer("intermediate_size")
    every = q.integer("cross_attention_frequency")
    own = (
        Linear("projector_qkv", 3 * width, width, 3 * width, role=VISION),
        _QueryPairs(width),
        Linear("projector_o", width, width, width, role=VISION),
        Norm("projector_attention_norm", width, 2 * width),
    )
    mlp = (
        Mlp(width=width, hidden=hidden, gated=False, bias=True, label="projector_", role=VISION),
        Norm("projector_mlp_norm", width, 2 * width),
    )
    asked = (
        Linear("projector_cross_q", width, width, width, role=VISION),
        Linear("projector_cross_o", width, width, width, role=VISION),
        Norm("projector_cross_norm", width, 2 * width),
    )
    cross = (
        Linear("projector_cross_kv", 2 * width, keys, 2 * width, role=VISION),
        QueryAttention(width, queries, name="projector_cross_attention"),
        OnTokens(blocks=asked, fixed=queries),
    )
    plain = OnTokens(blocks=(*own, *mlp), fixed=queries)
    described: list[tuple[str, tuple[Block, ...]]] = [
        ("", (plain,)) if index % every else ("cross", (plain, *cross))
        for index in range(q.integer("num_hidden_layers"))
    ]
    if starts_once:
        first = (
            OncePerPass(blocks=(*own, asked[0]), queries=queries),
            *cross[:2],
            OnTokens(blocks=(*asked[1:], *mlp), fixed=queries),
        )
        described[0] = ("first", first)
    return group_layers("vision.qformer", described)


@attrs.frozen
class _QueryPairs(Block):
    """The products of an image's queries with each other, where they are the tokens of the pass."""

    width: int

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        pairs = sum(queries * queries for queries in run.step.q_tokens)
        attend(emit, "projector_attention", self.width, run.tokens, pairs)


def kosmos2(f: Fields) -> Architecture:
    """KOSMOS-2 (arXiv 2306.14824): CLIP, a linear layer, and learned queries that look at its tokens and themselves."""
    text = read_text(f, "kosmos_2_text_model")
    v = f.part("vision_config", "kosmos_2_vision_model")
    stack, tokens, extra = clip_vision(v)
    width, out = v.dim("hidden_size"), text_width(text)
    queries = f.integer("latent_query_num", default=64)
    keys = Linear("projector_kv", 2 * out, out, 2 * out, role=VISION)
    asked = (Linear("projector_q", out, out, out, role=VISION), Linear("projector_o", out, out, out, role=VISION))
    after = (
        Norm("post_norm", width, 2 * width),
        Linear("projector", out, width, out, role=VISION),
        Constant("projector_queries", queries * out),
        OnTokens(blocks=(keys,), plus=queries),
        QueryAttention(out, queries, own=True, name="projector_attention"),
        OnTokens(blocks=asked, fixed=queries),
    )
    return joined(f, text, Tower(attrs.evolve(stack, after=after), width, tokens, extra))


def granite4_vision(f: Fields) -> Architecture:
    """Granite 4 Vision: a Q-Former on windows of patches for each of several layers that its outputs are added in."""
    text, tower = read_text(f, "granite4_vision_text"), read_tower(f, "clip_vision_model")
    width, out = tower.width, text_width(text)
    told = f.text("downsample_rate")
    sides = [int(side) for side in told.split("/") if side.isdecimal() and len(side) < 9]
    if len(sides) != 2 or not sides[0] or sides[1] != 2 * sides[0]:
        raise f.wrong("downsample_rate", f"is {told!r}; only a half is supported, as in `4/8`")
    queries, window = sides[0] ** 2, sides[1] ** 2
    assert tower.tokens is not None  # noqa: S101 - images of these towers are of one size
    patches = tower.tokens - tower.extra
    if isqrt(patches) % sides[1]:
        raise f.wrong("downsample_rate", f"is {told}, but an image has {isqrt(patches)} patches on a side")
    q = f.part("qformer_config", "blip_2_qformer")
    q = q.replaced(hidden_size=width, **({} if q.data else _GRANITE_QFORMER))
    spatial = f.items("spatial_target_layers")
    number = len(f.items("deepstack_layer_map") or ()) + 4
    if spatial is not None and len(spatial) > 4:
        raise f.wrong("spatial_target_layers", f"lists {len(spatial)} layers; there are 4 projectors")

    def on_windows(*blocks: Block) -> OnTokens:
        return OnTokens(blocks=(OnWindows(blocks=blocks, window=window),), plus=-tower.extra)

    last = Linear("projector", out, width, out, role=VISION)
    around = (
        OnTokens(blocks=(Norm("projector_patch_norm", width, 2 * width),), plus=-tower.extra),
        Constant("projector_queries", (queries + window) * width),
        on_windows(OnTokens(blocks=(Norm("projector_norm", width, 2 * width),), fixed=queries)),
    )
    layers = tuple(
        attrs.evolve(group, ids=tuple(range(len(group.ids) * number)), blocks=(on_windows(*group.blocks),))
        for group in qformer_layers(q, width, queries)
    )
    ends = (on_windows(OnTokens(blocks=(last,), fixed=queries)),)
    groups = (
        *tower.stack.layers,
        Layers("vision.norms", tuple(range(number)), around),
        *layers,
        Layers("vision.projectors", tuple(range(number)), ends),
    )
    made = OnTokens(blocks=(Norm("projector_made", 0, 0),), fixed=patches // window * queries)
    after = (*tower.stack.after, Constant("image_newline", out), made)
    return joined(f, text, attrs.evolve(tower, stack=attrs.evolve(tower.stack, layers=groups, after=after)))


#: What Granite 4 Vision's class has for a Q-Former that its config leaves out.
_GRANITE_QFORMER = {"num_hidden_layers": 1, "intermediate_size": 3072, "cross_attention_frequency": 1}


RESAMPLERS: dict[str, Builder] = {
    "idefics2": Verified(idefics2),
    "aria": Verified(aria),
    "blip-2": Verified(blip2),
    "kosmos-2": kosmos2,
    "granite4_vision": Verified(granite4_vision),
}
