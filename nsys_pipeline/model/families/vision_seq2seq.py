"""An encoder of images and a decoder of text that looks at its tokens: TrOCR, Donut, Nougat, captions by GPT-2."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import Block, Constant, CrossAttention, Embedding, Head, Linear, Mlp, Norm, OnTokens
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import ENCODERS
from nsys_pipeline.model.families.gpt import gpt2
from nsys_pipeline.model.families.image_windows import window_projections, window_sides
from nsys_pipeline.model.families.seq2seq import bart_layers
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import VISION


@attrs.frozen(kw_only=True)
class _SwinAttention(Block):
    """Attention in square windows of a rectangle of tokens (Swin, arXiv 2103.14030), with a bias for each offset.

    `table`: side of the windows that the table of biases is for. Shifted windows are as many and as large.
    """

    width: int
    heads: int
    sides: tuple[int, int]
    window: int
    table: int
    bias: bool

    @property
    def params(self) -> int:
        biases = (2 * self.table - 1) ** 2 * self.heads
        return 3 * self.width * (self.width + self.bias) + self.width * (self.width + 1) + biases

    def _size(self, *, padded: bool) -> tuple[int, int]:
        """Tokens of an image, and pairs of a token and one that it sees."""
        rows, columns = (window_sides(side, self.window, padded=padded) for side in self.sides)
        return sum(rows) * sum(columns), sum(n * n for n in rows) * sum(n * n for n in columns)

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        images = run.step.batch if run.tokens else 0
        model, executed = (images * self._size(padded=padded)[0] for padded in (False, True))
        window_projections(emit, self.width, model, executed, qkv_bias=self.bias, is_read=images > 0)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        images = run.step.batch if run.tokens else 0
        (tokens, pairs), (_, ran) = (self._size(padded=padded) for padded in (False, True))
        emit.add(
            "attention",
            "attention",
            m=images * tokens,
            n=pairs // tokens,
            k=self.width // self.heads,
            batch=self.heads,
            flops=4 * images * pairs * self.width,
            executed=4 * images * ran * self.width,
        )


def donut_swin(f: Fields) -> Architecture:
    """Swin without a norm at its end: stages of windows, each with a quarter of the tokens of twice the width."""
    width, depths, heads = f.dim("embed_dim"), f.indices("depths") or [], f.indices("num_heads") or []
    if not depths or len(depths) != len(heads):
        raise f.wrong("depths", "and `num_heads` do not list as many stages")
    patch, window = f.integer("patch_size", default=4), f.integer("window_size", default=7)
    told = f.get("image_size", default=224)
    image = told if isinstance(told, list | tuple) and len(told) == 2 else (told, told)
    bias, ratio = f.flag("qkv_bias", default=True), f.ratio("mlp_ratio", default=4)
    grid = tuple(f.checked("image_size", side) // patch for side in image)
    sides = tuple(-(-f.checked("image_size", side) // patch) for side in image)
    placed = (grid[0] * grid[1] + 1) * width if f.flag("use_absolute_embeddings") else 0
    tokens = sides[0] * sides[1]
    embed = Linear("patch_embed", width, f.integer("num_channels", default=3) * patch * patch, width, role=VISION)
    first = (embed, Norm("embed_norm", width, 2 * width))
    before: tuple[Block, ...] = (OnTokens(blocks=first, fixed=tokens), Constant("embed_positions", placed))
    groups: list[Layers] = []
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        f.divides("embed_dim", width, "num_heads", f.checked("num_heads", count))
        attention = _SwinAttention(
            width=width, heads=count, sides=(sides[0], sides[1]), window=min(window, *sides), table=window, bias=bias
        )
        rest = (
            Norm("attention_norm", width, 2 * width),
            Norm("mlp_norm", width, 2 * width),
            Mlp(width=width, hidden=int(ratio * width), gated=False, bias=True, role=VISION),
        )
        label = f"stage{stage}"
        groups.append(Layers(label, tuple(range(depth)), (attention, OnTokens(blocks=rest, fixed=tokens))))
        if stage + 1 < len(depths):
            sides = tuple(-(-side // 2) for side in sides)
            tokens = sides[0] * sides[1]
            merge = (Norm("merger_norm", 4 * width, 8 * width), Linear("merger", 2 * width, 4 * width, role=VISION))
            groups.append(Layers(f"{label}.merger", (0,), (OnTokens(blocks=merge, fixed=tokens),)))
            width *= 2
    stack = Stack("encoder", tuple(groups), before)
    return Architecture(
        family="donut-swin",
        encoder=stack,
        heads=heads[0],
        encoder_tokens=tokens,
        encoder_grid=(grid[0], grid[1]),
    )


_IMAGE_ENCODERS: dict[str, Callable[[Fields], Architecture]] = {
    **{name: ENCODERS[name] for name in ("vit", "deit", "dinov2")},
    "donut-swin": donut_swin,
}


@attrs.frozen
class _Bridge(Block):
    """From the encoder's width to the decoder's, once; transformers projects the same tokens again in each pass."""

    n: int
    k: int

    @property
    def params(self) -> int:
        return self.n * (self.k + 1)

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        tokens = sum(run.encoder_tokens)
        emit.add(
            "gemm",
            "bridge",
            m=tokens if run.first else 0,
            n=self.n,
            k=self.k,
            flops=2 * tokens * self.n * self.k if run.first else 0,
            executed=2 * tokens * self.n * self.k,
            weight=emit.plain_bytes(self.params) if run.first else 0,
        )


def bart_like(f: Fields, encoder_width: int | None) -> tuple[Stack, int]:
    """Decoders of Bart's kin; TrOCR's has sinusoidal positions or no norm of the embedding if the config says so."""
    width, vocab, trocr = f.dim("d_model"), f.dim("vocab_size"), f.model_type == "trocr"
    layers, heads = bart_layers(f, "decoder", width, k_bias=True, encoder_width=encoder_width)
    learned = not trocr or f.flag("use_learned_position_embeddings", default=True)
    rows = f.dim("max_position_embeddings") + 2 if learned else 0
    normed = not trocr or f.flag("layernorm_embedding", default=True)
    norms = tuple(
        (Norm(name, width, 2 * width),) if there else ()
        for name, there in (("embed_norm", normed), ("final_norm", f.model_type == "mbart"))
    )
    tied = f.flag("tie_word_embeddings", default=True)
    before = (Embedding("embed", vocab, width, tied=tied), Embedding("embed_positions", rows, width), *norms[0])
    return Stack("decoder", (layers,), before, (*norms[1], Head(vocab, width))), heads


def _gpt2(f: Fields, encoder_width: int | None) -> tuple[Stack, int]:
    """GPT-2 with a cross-attention and a norm more in each layer."""
    text, width, heads = gpt2(f), f.dim("hidden_size"), f.dim("num_attention_heads")
    stack = text.decoder
    assert stack is not None  # noqa: S101 - GPT-2 is a decoder
    cross = CrossAttention(
        width=width, encoder_width=encoder_width or width, heads=heads, kv_heads=heads, head_dim=width // heads,
        q_bias=True, k_bias=True, v_bias=True, o_bias=True,
    )  # fmt: skip
    more = (Norm("cross_norm", width, 2 * width), cross)
    layers = tuple(attrs.evolve(group, blocks=(*group.blocks, *more)) for group in stack.layers)
    return attrs.evolve(stack, layers=layers), heads


_TEXT_DECODERS: dict[str, Callable[[Fields, int | None], tuple[Stack, int]]] = {
    "trocr": bart_like,
    "mbart": bart_like,
    "gpt2": _gpt2,
}


def vision_encoder_decoder(f: Fields) -> Architecture:
    """Any known encoder of images before any known decoder; a projection between them if their widths differ."""
    encoder, decoder = (f.sub(side, model_type="none") for side in ("encoder", "decoder"))
    for side, known in ((encoder, _IMAGE_ENCODERS.keys()), (decoder, _TEXT_DECODERS.keys())):
        if side.model_type not in known:
            what = "encoder" if side is encoder else "decoder"
            raise ModelError(
                f"config of model type `{f.model_type}`: its {what}'s model type `{side.model_type}` is not known",
                hint=f"known: {', '.join(sorted(known))}",
            )
    images = _IMAGE_ENCODERS[encoder.model_type](encoder)
    out = _width(encoder)
    width, told = decoder.dim("hidden_size", "d_model"), decoder.opt_int("cross_attention_hidden_size")
    text, heads = _TEXT_DECODERS[decoder.model_type](decoder, told)
    if told is None and out != width:
        text = attrs.evolve(text, before=(*text.before, _Bridge(width, out)))
    return Architecture(
        family=f.model_type, encoder=images.encoder, decoder=text,
        encoder_tokens=images.encoder_tokens, encoder_grid=images.encoder_grid, heads=heads, kv_heads=heads,
    )  # fmt: skip


def _width(encoder: Fields) -> int:
    """Values of a token that an encoder gives."""
    if encoder.model_type != "donut-swin":
        return encoder.dim("hidden_size")
    return encoder.dim("embed_dim") << len(encoder.items("depths") or [0]) - 1


VISION_SEQ2SEQ: dict[str, Builder] = {"vision-encoder-decoder": Verified(vision_encoder_decoder)}
