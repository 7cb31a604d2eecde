"""Phi-4-multimodal (arXiv 2503.01743): a decoder that sees crops of a picture and the whole, and hears."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nsys_pipeline.model.architecture import Architecture, AudioEncoder, Layers, Stack
from nsys_pipeline.model.blocks import Around, Attention, Block, Constant, Linear, Mlp, Norm, OnSides, Padded
from nsys_pipeline.model.emitter import Pass
from nsys_pipeline.model.families.common import Builder
from nsys_pipeline.model.families.conformers import Reduced, on_part, separable_convolutions
from nsys_pipeline.model.families.encoders import grid, placed_patches, pooling_head, vision_encoder
from nsys_pipeline.model.families.towers import Tower, joined, text_decoder, text_width, two_layers
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import AUDIO, VISION
from nsys_pipeline.records import Step

#: Positions of sound that see each other (transformers, modeling_phi4_multimodal.py: `max_seq_len`).
_POSITIONS = 500


@attrs.frozen(kw_only=True)
class _OnCrops(Around):
    """Blocks that run on each crop of an image, of `side` patches on a side, and once on the whole image."""

    side: int

    def _inner(self, run: Pass) -> Pass:
        if run.grids:
            crops = [-(-height // self.side) * -(-width // self.side) for height, width in run.grids]
        else:
            crops = [-(-tokens // self.side**2) for tokens in run.step.q_tokens if tokens]
        views = sum(crops) + len(crops)
        return attrs.evolve(run, step=Step.uniform(batch=views, q_tokens=self.side**2, logits=run.logits))


@attrs.frozen(kw_only=True)
class _Projected(OnSides):
    """Blocks on means of squares of patches: those of the image, one that ends each row, and those of the whole.

    `side`: patches on a side of a crop. Crops of an odd number are filled up; the last ones are cut off at the image.
    """

    side: int

    def of_image(self, _tokens: int, sides: tuple[int, int]) -> int:
        rows, columns = (side // self.side * self._half + (side % self.side + 1) // 2 for side in sides)
        return rows * (columns + 1) + self._whole

    def length(self, tokens: int) -> int:
        """The fewest tokens that an image of so many patches becomes."""
        return (tokens + 3) // 4 + 1 + self._whole if tokens else 0

    @property
    def _half(self) -> int:
        return (self.side + 1) // 2

    @property
    def _whole(self) -> int:
        """Tokens of the whole image, one for each of its rows, and one before it."""
        return 1 + self._half * (self._half + 1)


def _tower(f: Fields, out: int) -> Tower:
    """SigLIP on crops; means of squares of patches, and two linear layers."""
    v = f.part("vision_config", "phi4_multimodal_vision")
    (side, _), spec = grid(v), vision_encoder(v)
    width = spec.width

    def on_crops(*blocks: Block) -> _OnCrops:
        return _OnCrops(blocks=blocks, side=side)

    layers = tuple(attrs.evolve(group, blocks=(on_crops(*group.blocks),)) for group in spec.layers("vision.layers"))
    after = (
        on_crops(Norm("post_norm", width, 2 * width), *pooling_head(width, spec.hidden)),
        Constant("view_separator", 2 * width),
        _Projected(blocks=two_layers(width, out, bias=True), side=side),
    )
    return Tower(Stack("vision", layers, (on_crops(*placed_patches(v)),), after), width, None)


@attrs.frozen(kw_only=True)
class _Chunked(Padded):
    """Blocks on an `over`-th of the frames, in chunks of `_POSITIONS`; if there are several, the last one is filled up.

    `more`: positions that the implementation runs beyond each chunk, which counts as executed with what fills it.
    """

    more: int = 0

    def _inner(self, run: Pass) -> Pass:
        chunks = [chunk for frames in run.step.q_tokens for chunk in self._chunks(self.length(frames))]
        return attrs.evolve(run, step=Step.ragged(chunks, [0] * len(chunks), run.logits))

    def _chunks(self, positions: int) -> list[int]:
        whole, rest = divmod(positions, _POSITIONS)
        return [_POSITIONS] * whole + [rest] * (rest > 0)

    def _ran(self, lengths: Sequence[int]) -> Sequence[int]:
        ran = [self._chunks(self.length(frames)) for frames in lengths]
        return [(_POSITIONS if len(each) > 1 else chunk) + self.more for each in ran for chunk in each]

    def _more(self, run: Pass) -> Pass:
        ran = self._ran(run.step.q_tokens)
        return attrs.evolve(run, step=Step.ragged(ran, [0] * len(ran), run.logits))


def _audio(f: Fields, out: int) -> AudioEncoder:
    """A Conformer behind strided convolutions that are separable but for the first one."""
    a = f.part("audio_config", "phi4_multimodal_audio")
    width, hidden, heads = a.integer("hidden_size"), a.integer("intermediate_size"), a.integer("num_attention_heads")
    channels, over = a.integer("nemo_conv_channels"), a.integer("time_reduction")
    inner, kernel = width * a.integer("depthwise_multiplier"), a.integer("kernel_size")
    for name in ("ext_pw_out_channel", "depthwise_separable_out_channel"):
        if a.integer(name) != width:
            raise a.wrong(name, f"must be `hidden_size` = {width}")
    if over < 2 or over & (over - 1):
        raise a.wrong("time_reduction", f"is {over}; only powers of 2 are supported")
    chunk = a.get("chunk_size", default=-1)
    if not isinstance(chunk, int) or chunk > 0:
        raise a.wrong("chunk_size", f"is {chunk!r}; chunks are not supported")
    if a.integer("downsample_rate", default=1) != 1:
        raise a.wrong("downsample_rate", "must be 1")

    bands = a.integer("input_size")
    distances = a.integer("bias_max_distance") * (1 if a.flag("bias_symmetric") else 2)
    before = (
        *separable_convolutions(over, channels, bands=bands, width=width),
        Constant("relative_positions", distances * heads),
    )
    layer: list[Block] = []
    for name in ("first_", "last_"):
        norm = Norm(f"{name}norm", width, 2 * width)
        layer += [norm, Mlp(width=width, hidden=hidden, bias=True, label=name, role=VISION)]
    head_dim = a.divides("hidden_size", width, "num_attention_heads", heads)
    attention = Attention(
        width=width, heads=heads, kv_heads=heads, head_dim=head_dim,
        q_bias=True, kv_bias=True, o_bias=True, causal=False, cached=False, role=VISION,
    )  # fmt: skip
    layer += [
        Norm("attention_norm", width, 2 * width),
        attention,
        Norm("conv_norm", width, 2 * width),
        Linear("conv_in", 2 * width, width, 4 * width, role=VISION),
        Linear("conv_last", width, width, width, role=VISION),
        Norm("post_norm", width, 2 * width),
    ]
    convolutions = (
        Linear("conv", inner, kernel, inner, role=VISION),
        Linear("conv_out", width, inner, width, role=VISION),
    )
    blocks = (
        _Chunked(blocks=tuple(layer), plus=over - 1, over=over),
        _Chunked(blocks=convolutions, plus=over - 1, over=over, more=kernel - 1),
    )
    layers = Layers("audio.layers", tuple(range(a.integer("num_blocks"))), blocks)
    projector = on_part(over, *two_layers(width, out, bias=True))
    return Reduced(stack=Stack(AUDIO, (layers,), before, (projector,)), over=over)


def phi4_multimodal(f: Fields) -> Architecture:
    """Phi-4-multimodal: of two projectors of sound, a pass runs one, whichever it is."""
    text = text_decoder(f, "phi3", flat=True)
    out = text_width(text)
    audio = _audio(f, out)
    unused = audio.stack.after[-1].params
    model = joined(f, text, _tower(f, out))
    return attrs.evolve(model, audio=audio, unused_params=model.unused_params + unused)


PHI4_MULTIMODAL: dict[str, Builder] = {"phi4_multimodal": phi4_multimodal}
