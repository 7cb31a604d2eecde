"""Text decoders with a Conformer (arXiv 2005.08100) for sound: attention and convolutions between two MLPs."""

from __future__ import annotations

import math

import attrs

from nsys_pipeline.model.architecture import Architecture, AudioEncoder, Layers, Stack
from nsys_pipeline.model.blocks import Block, Constant, Linear, Mlp, Norm, OnTokens, step_shapes
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder
from nsys_pipeline.model.families.resamplers import OncePerPass, OnWindows, qformer_layers
from nsys_pipeline.model.families.towers import read_text, text_width
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.masks import bidirectional_pairs
from nsys_pipeline.model.quantization import AUDIO, VISION


@attrs.frozen
class _BlockAttention(Block):
    """Attention within blocks of tokens; every query also scores a learned vector for each distance (arXiv 1803.02155).

    The implementation pads the last block, which counts as executed.
    """

    width: int
    inner: int
    block: int
    table: int

    @property
    def params(self) -> int:
        return 4 * self.inner * self.width + self.width + self.table

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        blocks = sum(-(-tokens // self.block) for tokens in run.step.q_tokens)
        ran = blocks * self.block
        emit.add(
            "gemm",
            "qkv",
            m=run.tokens,
            n=3 * self.inner,
            k=self.width,
            flops=6 * run.tokens * self.inner * self.width,
            executed=6 * ran * self.inner * self.width,
            weight=emit.plain_bytes(3 * self.inner * self.width + self.table) if run.tokens else 0,
            activation=emit.plain_bytes(run.tokens * (3 * self.inner + self.width)),
        )
        emit.gemm("o", VISION, run.tokens, self.width, self.inner, bias=self.width)

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        pairs = ran = 0
        for (tokens, _), count in step_shapes(run.step):
            pairs += count * bidirectional_pairs(tokens, chunk=self.block)
            ran += count * -(-tokens // self.block) * self.block**2
        # Scores of keys, scores of distances, and values.
        emit.add(
            "attention",
            "attention",
            m=run.tokens,
            n=pairs // max(1, run.tokens),
            k=self.inner,
            flops=6 * pairs * self.inner,
            executed=6 * ran * self.inner,
        )


@attrs.frozen(kw_only=True)
class _Windowed(AudioEncoder):
    """The prompt has `queries` tokens for each window of frames."""

    window: int
    queries: int

    def tokens(self, frames: int) -> int:
        return -(-frames // self.window) * self.queries


def granite_speech(f: Fields) -> Architecture:
    """Granite Speech (arXiv 2505.08699): pairs of frames, a CTC head in the middle, and a Q-Former on windows."""
    text = read_text(f, "granite")
    e = f.part("encoder_config", f"{f.model_type}_encoder")
    q = f.part("projector_config", "blip_2_qformer")
    width, depth, heads = e.integer("hidden_dim"), e.integer("num_layers", minimum=2), e.integer("num_heads")
    head_dim = e.opt_int("dim_head") or e.divides("hidden_dim", width, "num_heads", heads)
    hidden, inner = width * e.integer("feedforward_mult"), width * e.integer("conv_expansion_factor")
    layer: list[Block] = []
    for name in ("first_", "last_"):
        norm = Norm(f"{name}norm", width, 2 * width)
        layer += [norm, Mlp(width=width, hidden=hidden, gated=False, bias=True, label=name, role=VISION)]
    attention = _BlockAttention(
        width, heads * head_dim, e.integer("context_size"), (2 * e.integer("max_pos_emb") + 1) * head_dim
    )
    layer += [
        Norm("attention_norm", width, 2 * width),
        attention,
        Norm("conv_norm", width, 2 * width),
        Linear("conv_in", 2 * inner, width, 2 * inner, role=VISION),
        # One filter for each value: as many products as a matrix of that shape has.
        Linear("conv", inner, e.integer("conv_kernel_size"), role=VISION),
        Norm("conv_batch_norm", inner, 2 * inner),
        Linear("conv_out", width, inner, width, role=VISION),
        Norm("post_norm", width, 2 * width),
    ]
    labels = e.integer("output_dim")
    head = (Linear("ctc", labels, width, labels, role=VISION), Linear("ctc_back", width, labels, width, role=VISION))
    half = depth // 2
    window = f.integer("window_size", default=15)
    queries = window // f.integer("downsample_rate", default=5)
    inner_width, out = q.integer("hidden_size"), text_width(text)
    projector = tuple(
        attrs.evolve(group, label=f"{AUDIO}.qformer", blocks=(OnWindows(blocks=group.blocks, window=window),))
        for group in qformer_layers(q, q.integer("encoder_hidden_size"), queries, starts_once=True)
    )
    last = (
        Norm("projector_norm", inner_width, 2 * inner_width),
        Linear("projector", out, inner_width, out, role=VISION),
    )
    after = (
        Constant("projector_queries", queries * inner_width),
        OnWindows(blocks=(OnTokens(blocks=last, fixed=queries),), window=window),
    )
    layers = (
        Layers("audio.layers", tuple(range(half)), tuple(layer)),
        Layers("audio.ctc", (0,), head),
        Layers("audio.layers", tuple(range(half, depth)), tuple(layer)),
    )
    before = (Linear("input", width, e.integer("input_dim"), width, role=VISION),)
    stack = Stack(AUDIO, (*layers, *projector), before, after)
    audio = _Windowed(stack=stack, frames_per_s=50, window=window, queries=queries)
    return attrs.evolve(text, family=f.model_type, audio=audio)


@attrs.frozen
class _LocalAttention(Block):
    """Attention to so many tokens before and after; every query also scores a key of each distance.

    The implementation runs blocks of queries with all the keys that one of them may see, which counts as executed.
    """

    width: int
    block: int
    before: int
    after: int
    distances: int

    def context_ops(self, emit: Emitter, run: Pass) -> None:
        pairs = ran = 0
        for (tokens, _), count in step_shapes(run.step):
            # Tokens near an end have fewer neighbours on that side.
            near = [(min(side, tokens), side) for side in (self.before, self.after)]
            seen = sum(short * (short - 1) // 2 + (tokens - short) * side for short, side in near)
            pairs += count * (tokens + seen)
            queries = -(-tokens // self.block) * self.block
            ran += count * queries * (2 * (self.block + self.before + self.after) + self.distances)
        emit.add(
            "attention",
            "attention",
            m=run.tokens,
            n=pairs // max(1, run.tokens),
            k=self.width,
            flops=6 * pairs * self.width,
            executed=2 * ran * self.width,
        )


@attrs.frozen(kw_only=True)
class Reduced(AudioEncoder):
    """Convolutions leave a token for each `over` frames."""

    over: int

    def tokens(self, frames: int) -> int:
        return -(-frames // self.over)


def on_part(part: int, *blocks: Block, bands: int = 1) -> OnTokens:
    """Blocks on each of `bands` of what strided convolutions leave of the frames: one in `part`, rounded up."""
    return OnTokens(blocks=(OnTokens(blocks=blocks, times=bands),), plus=part - 1, over=part)


def separable_convolutions(over: int, channels: int, *, bands: int, width: int) -> tuple[Block, ...]:
    """Strided convolutions that halve frames and bands until one frame in `over`, a power of 2, is left as a token.

    They are separable but for the first one, and a matrix brings what is left of the bands to `width`.
    """
    part, blocks = 1, list[Block]()
    while part < over:
        part, bands = 2 * part, (bands + 1) // 2
        # One filter for each channel: as many products as a matrix of that shape has.
        blocks.append(on_part(part, Linear(f"conv{part}", channels, 9, channels, role=VISION), bands=bands))
        if part > 2:
            mixed = Linear(f"conv{part}_mix", channels, channels, channels, role=VISION)
            blocks.append(on_part(part, mixed, bands=bands))
    blocks.append(on_part(over, Linear("input", width, bands * channels, width, role=VISION)))
    return tuple(blocks)


@attrs.frozen(kw_only=True)
class _Usm:
    """Sizes of the encoder that Gemma hears with (arXiv 2303.01037): attention to tokens nearby, between two MLPs.

    `channels` of its two convolutions, each of which halves the frames, and the `bands` that each leaves.
    Attention is in blocks of `block`, to so many tokens `before` and `after`, and to keys of `distances`.
    """

    width: int
    depth: int
    kernel: int
    block: int
    before: int
    after: int
    distances: int
    channels: tuple[int, int]
    bands: tuple[int, int]
    dim_scale: int

    def stack(self, projector: tuple[Block, ...], *, reduced: int = 1) -> Stack:
        """The encoder and `projector`, on every `reduced`-th of its tokens, of which one is four frames."""
        width, (first, second) = self.width, self.channels
        layer: list[Block] = []
        for name in ("first_", "last_"):
            norms = tuple(Norm(f"{name}{place}_norm", width, width) for place in ("pre", "post"))
            layer += [*norms, Mlp(width=width, hidden=4 * width, gated=False, label=name, role=VISION)]
        layer += [
            *(Norm(f"{name}_norm", width, width) for name in ("pre_attention", "post_attention", "out")),
            Linear("qkv", 3 * width, width, role=VISION),
            OncePerPass(blocks=(Linear("relative_k", width, width, role=VISION),), queries=self.distances),
            Constant("dim_scale", self.dim_scale),
            _LocalAttention(width, self.block, self.before, self.after, self.distances),
            Linear("o", width, width, role=VISION),
            Norm("conv_pre_norm", width, width),
            Linear("conv_in", 2 * width, width, role=VISION),
            # One filter for each value: as many products as a matrix of that shape has.
            Linear("conv", width, self.kernel, role=VISION),
            Norm("conv_norm", width, width),
            Linear("conv_out", width, width, role=VISION),
        ]

        frames = (
            on_part(2, Linear("conv1", first, 9, role=VISION), Norm("conv1_norm", first, first), bands=self.bands[0]),
            on_part(4, Linear("conv2", second, 9 * first, role=VISION), Norm("conv2_norm", second, second),
                    bands=self.bands[1]),
            on_part(4, Linear("input", width, self.bands[1] * second, role=VISION)),
        )  # fmt: skip
        layers = Layers("audio.layers", tuple(range(self.depth)), (on_part(4, *layer),))
        return Stack(AUDIO, (layers,), frames, (on_part(4 * reduced, *projector),))


def _two_channels(a: Fields, name: str) -> tuple[int, int]:
    channels = a.indices(name)
    if channels is None or len(channels) != 2:
        raise a.wrong(name, "must list the channels of two convolutions")
    return channels[0], channels[1]


def gemma4_audio(a: Fields, out: int) -> AudioEncoder:
    """What Gemma 4 hears with."""
    width, heads = a.integer("hidden_size"), a.integer("num_attention_heads")
    channels = _two_channels(a, "subsampling_conv_channels")
    block, before, after = (
        a.integer("attention_chunk_size"),
        a.integer("attention_context_left") - 1,
        a.integer("attention_context_right", minimum=0),
    )
    encoder = _Usm(
        width=width,
        depth=a.integer("num_hidden_layers"),
        kernel=a.integer("conv_kernel_size"),
        block=block,
        before=before,
        after=after,
        distances=(block + before + after) // 2 + 1,
        channels=channels,
        # As many bands as the first convolution has channels.
        bands=(channels[0] // 4 * 2, channels[0] // 4),
        dim_scale=a.divides("hidden_size", width, "num_attention_heads", heads),
    )
    inner = a.integer("output_proj_dims")
    projector = (Linear("output", inner, width, inner, role=VISION), Linear("projector", out, inner, role=VISION))
    return Reduced(stack=encoder.stack(projector), over=4)


@attrs.frozen(kw_only=True)
class _Pieces(AudioEncoder):
    """Pieces of the wave as they are, of which the last one is filled up; the prompt has a token for each."""

    def frames(self, seconds: float) -> int:
        # Rounded, for a number of whole pieces may come out as a little more.
        return math.ceil(round(seconds * self.frames_per_s, 6))

    def tokens(self, frames: int) -> int:
        return frames


def gemma4_unified_audio(a: Fields, out: int) -> AudioEncoder:
    """What Gemma 4 without towers hears with: pieces of the wave through one matrix."""
    width = a.integer("audio_embed_dim", "hidden_size")
    # 16,000 values a second (transformers, feature_extraction_gemma4_unified.py).
    pieces = a.divides("sampling rate", 16_000, "audio_embed_dim", width)
    projector = (Norm("projector_norm", width, 0), Linear("projector", out, width, role=VISION))
    return _Pieces(stack=Stack(AUDIO, (), projector), frames_per_s=pieces)


@attrs.frozen(kw_only=True)
class _AsMany(AudioEncoder):
    """The prompt has as many tokens for each clip, however short."""

    each: int

    def tokens(self, _frames: int) -> int:
        return self.each


def gemma3n_audio(a: Fields, projector: tuple[Block, ...], tokens: int) -> AudioEncoder:
    """What Gemma 3n hears with; `tokens` of the prompt are a clip."""
    width, heads = a.integer("hidden_size"), a.integer("conf_num_attention_heads")
    for name, sides in (("sscp_conv_kernel_size", 3), ("sscp_conv_stride_size", 2)):
        told = a.items(name)
        if (
            told is not None
            and [list(each) if isinstance(each, list | tuple) else each for each in told] != [[sides, sides]] * 2
        ):
            raise a.wrong(name, f"is {told!r}; only two of {sides} x {sides} are supported")
    before, after = (
        a.integer("conf_attention_context_left") - 1,
        a.integer("conf_attention_context_right", minimum=0),
    )
    reduced, mels = a.integer("conf_reduction_factor"), a.integer("input_feat_size")
    encoder = _Usm(
        width=width,
        depth=a.integer("conf_num_hidden_layers"),
        kernel=a.integer("conf_conv_kernel_size"),
        block=a.integer("conf_attention_chunk_size"),
        before=before,
        after=after,
        distances=before + after + 1,
        channels=_two_channels(a, "sscp_conv_channel_size"),
        bands=(-(-mels // 2), -(-mels // 4)),
        dim_scale=a.divides("hidden_size", width, "conf_num_attention_heads", heads),
    )
    stack = encoder.stack(projector, reduced=reduced)
    return _AsMany(stack=stack, each=tokens, longest=4 * reduced * tokens)


CONFORMERS: dict[str, Builder] = {"granite_speech": granite_speech, "granite_speech_plus": granite_speech}
