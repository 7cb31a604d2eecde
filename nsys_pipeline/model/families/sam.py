"""SAM's image encoder (arXiv 2304.02643), alone and as the first half of DeepSeek-OCR's."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack, group_layers
from nsys_pipeline.model.blocks import Block, Constant, Linear, Mlp, Norm, OnTokens, step_shapes
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import grid, patch_embedding
from nsys_pipeline.model.families.image_windows import window_projections, window_sides
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


@attrs.frozen(kw_only=True)
class SamAttention(Block):
    """Attention on a square of patches, global or in square windows, with decomposed relative positions."""

    width: int
    heads: int
    table: int
    window: int | None
    bias: bool = True
    relative: bool = True

    @property
    def params(self) -> int:
        qkv = 3 * self.width * (self.width + self.bias)
        table = 2 * self.table * (self.width // self.heads) if self.relative else 0
        return qkv + self.width * (self.width + 1) + table

    def _sides(self, tokens: int, *, padded: bool) -> list[int]:
        side = isqrt(tokens)
        return [side] if self.window is None else window_sides(side, self.window, padded=padded)

    def _tokens(self, run: Pass, *, padded: bool) -> int:
        return sum(count * sum(self._sides(q, padded=padded)) ** 2 for (q, _), count in step_shapes(run.step))

    def _flops(self, run: Pass, *, padded: bool) -> int:
        """Scores and values: 4 · pairs · width; relative positions: a query with a row and a column of its window."""
        total = 0
        for (q, _), count in step_shapes(run.step):
            sides = self._sides(q, padded=padded)
            squares = sum(side * side for side in sides)
            flops = 4 * self.width * squares * squares
            if self.relative:
                flops += 4 * self.width * squares * sum(sides)
            total += count * flops
        return total

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        model, executed = self._tokens(run, padded=False), self._tokens(run, padded=True)
        window_projections(emit, self.width, model, executed, qkv_bias=self.bias)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        emit.add(
            "attention",
            "attention",
            m=run.tokens,
            n=self.window**2 if self.window else run.tokens // max(1, run.step.batch),
            k=self.width // self.heads,
            batch=self.heads,
            flops=self._flops(run, padded=False),
            executed=self._flops(run, padded=True),
            weight=emit.plain_bytes(2 * self.table * (self.width // self.heads)) if self.relative else 0,
        )


@attrs.frozen(kw_only=True)
class SamSizes:
    """Sizes of SAM's encoder."""

    width: int
    depth: int
    heads: int
    hidden: int
    image: int
    patch: int
    window: int
    global_layers: tuple[int, ...]
    channels: int
    out: int
    bias: bool = True
    relative: bool = True
    absolute: bool = True
    downsample: tuple[int, ...] = ()

    @property
    def side(self) -> int:
        return self.image // self.patch

    def layers(self, label: str) -> tuple[Layers, ...]:
        """The layers, windowed and global."""
        described: list[tuple[str, tuple[Block, ...]]] = []
        mlp = Mlp(width=self.width, hidden=self.hidden, gated=False, bias=True, role=VISION)
        norms = (Norm("attention_norm", self.width, 2 * self.width), Norm("mlp_norm", self.width, 2 * self.width))
        for index in range(self.depth):
            window = None if index in self.global_layers else self.window
            attention = SamAttention(
                width=self.width,
                heads=self.heads,
                table=2 * (window or self.side) - 1,
                window=window,
                bias=self.bias,
                relative=self.relative,
            )
            described.append(("window" if window else "global", (*norms, attention, mlp)))
        return group_layers(label, described)

    def before(self) -> tuple[Block, ...]:
        """Patch embedding and the absolute positions."""
        positions = self.side**2 * self.width if self.absolute else 0
        return (
            patch_embedding(self.width, self.patch, self.channels, bias=True, extra=0),
            Constant("embed_positions", positions),
        )

    def after(self) -> tuple[Block, ...]:
        """The neck, and the strided convolutions that DeepSeek-OCR adds: each leaves a quarter of the tokens."""
        blocks: list[Block] = [
            Linear("neck_conv1", self.out, self.width, role=VISION),
            Norm("neck_norm1", self.out, 2 * self.out),
            Linear("neck_conv2", self.out, 9 * self.out, role=VISION),
            Norm("neck_norm2", self.out, 2 * self.out),
        ]
        inputs, over = self.out, 1
        for index, outputs in enumerate(self.downsample):
            over *= 4
            conv = Linear(f"downsample_conv{index + 1}", outputs, 9 * inputs, role=VISION)
            blocks.append(OnTokens(blocks=(conv,), over=over))
            inputs = outputs
        return tuple(blocks)


def sam_sizes(f: Fields, *, downsample: Sequence[int] = ()) -> SamSizes:
    """Read a SAM vision config."""
    width = f.dim("hidden_size")
    side, patch = grid(f)
    hidden = f.opt_int("mlp_dim") or int(width * f.ratio("mlp_ratio", default=4.0))
    return SamSizes(
        width=width,
        depth=f.dim("num_hidden_layers"),
        heads=f.dim("num_attention_heads"),
        hidden=hidden,
        image=side * patch,
        patch=patch,
        window=f.integer("window_size", default=14),
        global_layers=(2, 5, 8, 11) if (told := f.indices("global_attn_indexes")) is None else tuple(told),
        channels=f.integer("num_channels", default=3),
        out=f.integer("output_channels", default=256),
        bias=f.flag("qkv_bias", default=True),
        relative=f.flag("use_rel_pos", default=True),
        absolute=f.flag("use_abs_pos", default=True),
        downsample=tuple(downsample),
    )


def sam_vision_model(f: Fields) -> Architecture:
    """SAM's image encoder alone."""
    sizes = sam_sizes(f)
    stack = Stack("encoder", sizes.layers("layers"), sizes.before(), sizes.after())
    return Architecture(family="sam_vision_model", encoder=stack, heads=sizes.heads, encoder_tokens=sizes.side**2)


SAM: dict[str, Builder] = {"sam_vision_model": Verified(sam_vision_model)}
