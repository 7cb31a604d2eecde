"""Text decoders whose images are tokens of their table: a convolutional encoder and a codebook."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import Around, Attention, Block, Constant, InFloat32, Linear, Norm
from nsys_pipeline.model.emitter import Pass
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.text import TEXT
from nsys_pipeline.model.families.towers import Tower, joined, read_text
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION
from nsys_pipeline.records import Step


@attrs.frozen(kw_only=True)
class _OnPixels(Around):
    """Blocks that run on each of `frames` copies of an image, of which a token is `pixels` pixels."""

    pixels: int = 1
    frames: int = 1

    def _inner(self, run: Pass) -> Pass:
        lengths = [tokens * self.pixels for tokens in run.step.q_tokens for _ in range(self.frames)]
        return attrs.evolve(run, step=Step.ragged(lengths, [0] * len(lengths), run.logits))


def _convolution(name: str, n: int, k: int, taps: int) -> Linear:
    return Linear(name, n, taps * k, n, role=VISION)


def _residual(inputs: int, outputs: int, *, taps: int = 9) -> tuple[Block, ...]:
    """Two convolutions with a norm before each, and one of single values if the width changes."""
    blocks: tuple[Block, ...] = (
        Norm("norm_1", inputs, 2 * inputs),
        _convolution("conv_1", outputs, inputs, taps),
        Norm("norm_2", outputs, 2 * outputs),
        _convolution("conv_2", outputs, outputs, taps),
    )
    return blocks if inputs == outputs else (*blocks, _convolution("shortcut", outputs, inputs, 1))


def _attention(width: int, heads: int) -> tuple[Block, ...]:
    attention = Attention(
        width=width, heads=heads, kv_heads=heads, head_dim=width // heads, q_bias=True, kv_bias=True, o_bias=True,
        causal=False, cached=False, role=VISION,
    )  # fmt: skip
    return Norm("attention_norm", width, 2 * width), attention


def _widths(v: Fields) -> list[int]:
    """Channels of each resolution."""
    told = v.indices("channel_multiplier")
    if not told or 0 in told:
        raise v.wrong("channel_multiplier", "must list the widths of the resolutions")
    return [v.integer("base_channels") * factor for factor in told]


def _latents(v: Fields) -> int:
    return v.integer("latent_channels") * (2 if v.flag("double_latent") else 1)


def _encoder(
    v: Fields, attends: Sequence[bool], *, in_the_middle: bool, heads: int = 1, frames: int = 1
) -> tuple[Layers, ...]:
    """VQGAN's encoder (arXiv 2012.09841): residual convolutions at resolutions that halve; `attends`: which have more.

    It runs on `frames` copies of an image, whose tokens are the pixels of the last resolution.
    """
    widths = _widths(v)
    layers: list[Layers] = []

    def add(level: int, *blocks: Block) -> None:
        # Sides of a resolution have twice the pixels of the next one's.
        on = _OnPixels(blocks=blocks, pixels=4 ** (len(widths) - 1 - level), frames=frames)
        layers.append(Layers(f"{VISION}.layers", (len(layers),), (on,)))

    width = v.integer("base_channels")
    add(0, _convolution("conv_in", width, v.integer("in_channels", default=3), 9))
    for level, out in enumerate(widths):
        if level:
            add(level, _convolution("downsample", width, width, 9))
        for _ in range(v.integer("num_res_blocks")):
            add(level, *_residual(width, out), *(_attention(out, heads) if attends[level] else ()))
            width = out
    middle = _attention(width, heads) if in_the_middle else ()
    last = (Norm("norm_out", width, 2 * width), _convolution("conv_out", _latents(v), width, 9))
    add(len(widths) - 1, *_residual(width, width), *middle, *_residual(width, width), *last)
    return tuple(layers)


def chameleon(f: Fields) -> Architecture:
    """Chameleon (arXiv 2405.09818): an image of one size becomes a token for each square of 16 pixels."""
    v = f.part("vq_config", "chameleon_vqgan")
    side, widths = v.integer("resolution", default=512), _widths(v)
    sides = [side >> level for level in range(len(widths))]
    told, is_vanilla = v.indices("attn_resolutions") or [], v.text("attn_type", default="vanilla") == "vanilla"
    layers = _encoder(v, [is_vanilla and one in told for one in sides], in_the_middle=is_vanilla)
    latents, width = v.integer("latent_channels"), v.integer("embed_dim")
    after = (
        _convolution("quantize_in", width, _latents(v), 1),
        Linear("codebook", v.integer("num_embeddings"), width, role=VISION),
    )
    model = joined(f, TEXT["chameleon"](f), Tower(Stack(VISION, layers, (), after), width, sides[-1] ** 2))
    # What draws: a convolution from the codebook.
    return attrs.evolve(model, text_only=False, unused_params=latents * (width + 1))


def emu3(f: Fields) -> Architecture:
    """Emu3 (arXiv 2409.18869): four copies of an image run through an encoder of videos; what draws has no reading."""
    text = read_text(f, "emu3_text_model")
    v = f.part("vq_config", "emu3_vqgan")
    widths, heads = _widths(v), v.integer("num_attention_heads", default=1)
    told, frames = v.indices("attn_resolutions") or [], v.integer("temporal_downsample_factor", default=4)
    layers = list(
        _encoder(v, [level in told for level in range(len(widths))], in_the_middle=True, heads=heads, frames=frames)
    )
    latents, width = _latents(v), v.integer("embed_dim")

    def add(*blocks: Block) -> None:
        layers.append(Layers(f"{VISION}.layers", (len(layers),), (_OnPixels(blocks=blocks, frames=frames),)))

    while frames > 1:
        frames //= 2
        add(_convolution("time_conv", latents, latents, 4 * 9))
    for _ in range(v.integer("num_res_blocks")):
        add(*_residual(latents, latents, taps=27))
    after = (
        _convolution("quantize_in", width, v.integer("latent_channels"), 3),
        Linear("codebook", v.integer("codebook_size"), width, role=VISION),
        Constant("quantize_out", v.integer("latent_channels") * (3 * width + 1)),
    )
    model = joined(f, text, Tower(Stack(VISION, tuple(layers), (), after), width, None))
    return attrs.evolve(model, uncounted=(*text.uncounted, "image decoder"))


def apertus1p5(f: Fields) -> Architecture:
    """Apertus 1.5: Emu 3.5's encoder of images, which stays in float32; what makes tokens of sound has no reading."""
    text = read_text(f, "apertus1p5_text")
    v = f.part("vision_config", "apertus1p5_vision_tokenizer")
    side, told = v.integer("resolution", default=256), v.indices("attn_resolutions") or []
    layers = _encoder(v, [side >> level in told for level in range(len(_widths(v)))], in_the_middle=True)
    width = v.integer("embed_dim")
    after = (
        _convolution("quantize_in", width, _latents(v), 1),
        Linear("codebook", v.integer("codebook_size"), width, role=VISION),
    )
    layers = tuple(attrs.evolve(group, blocks=(InFloat32(blocks=group.blocks),)) for group in layers)
    stack = Stack(VISION, layers, (), (InFloat32(blocks=after),))
    hears = f.get("audio_config", default={}) is not None
    model = joined(f, text, Tower(stack, width, None))
    return attrs.evolve(model, uncounted=("audio encoder",) if hears else ())


TOKENIZERS: dict[str, Builder] = {
    "apertus1p5": Verified(apertus1p5),
    "chameleon": Verified(chameleon),
    "emu3": Verified(emu3),
}
