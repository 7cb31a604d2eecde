"""Text decoders with an encoder of sound that has Whisper's layers. Their tokens include those that clips turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from nsys_pipeline.model.architecture import Architecture, AudioEncoder, Stack
from nsys_pipeline.model.blocks import Block, Constant, Linear, Norm, OnTokens, Padded
from nsys_pipeline.model.families.common import Builder, Verified
from nsys_pipeline.model.families.encoders import EncoderSpec
from nsys_pipeline.model.families.seq2seq import whisper_convolutions
from nsys_pipeline.model.families.towers import read_text, text_width, two_layers
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import AUDIO, VISION


@attrs.frozen(kw_only=True)
class _Windows(AudioEncoder):
    """Whisper's encoder: a clip is padded to whole windows of `positions`, of two frames each.

    The prompt has a token for each `per_token` positions of the padded clip; None: for each `merge` positions of the
    clip, of which a rest is dropped.
    """

    positions: int
    per_token: int | None = None
    merge: int = 2

    def _windows(self, frames: int) -> int:
        return -(-frames // (2 * self.positions))

    def lengths(self, frames: int) -> tuple[int, ...]:
        return (self.positions,) * self._windows(frames)

    def tokens(self, frames: int) -> int:
        if self.per_token is not None:
            return self._windows(frames) * self.positions // self.per_token
        whole, rest = divmod(frames, 2 * self.positions)
        return whole * (self.positions // self.merge) + (rest + 1) // 2 // self.merge


def _whisper_layers(a: Fields, *, k_bias: bool = False) -> EncoderSpec:
    return EncoderSpec(
        width=a.dim("d_model", "hidden_size"),
        depth=a.dim("encoder_layers", "num_hidden_layers"),
        heads=a.dim("encoder_attention_heads", "num_attention_heads"),
        hidden=a.dim("encoder_ffn_dim", "intermediate_size"),
        k_bias=k_bias,
        role=VISION,
    )


def _whisper(
    f: Fields, text: Architecture, a: Fields, *after: Block, longest: bool = False, per_token: int | None = None
) -> Architecture:
    """A decoder behind Whisper's encoder (arXiv 2212.04356) and `after`; `longest`: of one window at most."""
    spec, positions = _whisper_layers(a), a.integer("max_source_positions", default=1500)
    width = spec.width
    before = whisper_convolutions(width, a.integer("num_mel_bins", default=128), positions, role=VISION)
    audio = _Windows(
        stack=Stack(AUDIO, spec.layers("audio.layers"), before, after),
        positions=positions,
        per_token=per_token,
        longest=2 * positions if longest else None,
    )
    return attrs.evolve(text, family=f.model_type, audio=audio)


def qwen2_audio(f: Fields) -> Architecture:
    """Qwen2-Audio (arXiv 2407.10759): means of two positions, and one linear layer."""
    text, a = read_text(f, "qwen2"), f.part("audio_config", "qwen2_audio_encoder")
    width, out = a.dim("d_model"), text_width(text)
    after = OnTokens(
        blocks=(Norm("post_norm", width, 2 * width), Linear("projector", out, width, out, role=VISION)), over=2
    )
    return _whisper(f, text, a, after, longest=True)


def audio_flamingo3(f: Fields) -> Architecture:
    """Audio Flamingo 3 (arXiv 2507.08128): means of two positions, and two linear layers."""
    text, a = read_text(f, "qwen2"), f.part("audio_config", "audioflamingo3_encoder")
    width = a.dim("d_model", "hidden_size")
    projector = two_layers(width, text_width(text), bias=f.flag("projector_bias", default=True))
    return _whisper(f, text, a, OnTokens(blocks=(Norm("post_norm", width, 2 * width), *projector), over=2))


#: What Voxtral's class has for fields that its text config leaves out, where Llama's has others.
_VOXTRAL_TEXT = {
    "vocab_size": 131_072, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 30,
    "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip


def voxtral(f: Fields) -> Architecture:
    """Voxtral (arXiv 2507.13264): positions side by side, as many as the MLP is wide, and two linear layers."""
    told = f.get("text_config", default={})
    if isinstance(told, Mapping):
        f = f.replaced(text_config={**_VOXTRAL_TEXT, **told})
    text, a = read_text(f, "llama"), f.part("audio_config", "voxtral_encoder")
    width, inner = a.dim("hidden_size"), a.dim("intermediate_size")
    over = a.divides("intermediate_size", inner, "hidden_size", width)
    projector = two_layers(inner, text_width(text), bias=False)
    after = (Norm("post_norm", width, 2 * width), OnTokens(blocks=projector, over=over))
    return _whisper(f, text, a, *after, per_token=over)


def _halved(count: int, times: int) -> int:
    """What strided convolutions leave of so many steps."""
    for _ in range(times):
        count = (count + 1) // 2
    return count


def _steps(frames: int, chunk: int, halvings: int) -> int:
    """Steps that strided convolutions leave of all chunks of a clip."""
    whole, rest = divmod(frames, chunk)
    return whole * _halved(chunk, halvings) + _halved(rest, halvings)


@attrs.frozen(kw_only=True)
class _InChunks(OnTokens):
    """Blocks behind `halvings` strided convolutions that run on each chunk of frames alone, `times` rows of them."""

    chunk: int
    halvings: int

    def length(self, tokens: int) -> int:
        """Steps of all chunks of a clip of so many frames."""
        return self.times * _steps(tokens, self.chunk, self.halvings)


@attrs.frozen(kw_only=True)
class _Convolution(_InChunks, Padded):
    """A convolution on chunks, which the implementation pads to the longest one of the pass.

    `all_alike`: chunks are whole, and clips have as many as the longest one.
    """

    all_alike: bool = False

    def _ran(self, lengths: Sequence[int]) -> Sequence[int]:
        longest = max(lengths, default=0)
        steps = _halved(self.chunk if self.all_alike else min(self.chunk, longest), self.halvings)
        return [self.times * -(-(longest if self.all_alike else frames) // self.chunk) * steps for frames in lengths]


@attrs.frozen(kw_only=True)
class _Chunks(AudioEncoder):
    """Frames in chunks; the prompt has a token for each `per_token` positions that convolutions leave of them."""

    chunk: int
    halvings: int
    per_token: int = 1

    def tokens(self, frames: int) -> int:
        return _steps(frames, self.chunk, self.halvings) // self.per_token


def qwen_omni_audio(f: Fields, family: str) -> AudioEncoder:
    """What the thinkers of Qwen2.5-Omni (arXiv 2503.20215) and Qwen3-Omni (arXiv 2509.17765) hear with, and Qwen3-ASR.

    Whisper's layers, with attention within chunks of frames, or within several.
    """
    alone = family == "qwen3_asr"
    a = f.part("audio_config", "qwen3_asr_encoder" if alone else f"{family}_audio_encoder")
    old = family == "qwen2_5_omni"
    spec = _whisper_layers(a, k_bias=not old)
    width, out, mels = spec.width, a.integer("output_dim", default=3584), a.integer("num_mel_bins", default=128)
    chunk, halvings = 2 * a.integer("n_window"), 1 if old else 3
    window = _halved(chunk, halvings) * (1 if old else max(1, a.integer("n_window_infer", default=800) // chunk))

    def convolution(name: str, number: int, n: int, k: int, *, rows: int = 1, bias: bool = True) -> Block:
        block = Linear(name, n, k, n if bias else 0, role=VISION)
        return _Convolution(blocks=(block,), chunk=chunk, halvings=number, times=rows, all_alike=alone)

    if old:
        before: tuple[Block, ...] = (
            convolution("conv1", 0, width, 3 * mels),
            convolution("conv2", 1, width, 3 * width),
        )
        # Means of two positions; two tokens that begin and end a clip are stored with the encoder.
        last: tuple[Block, ...] = (
            Norm("post_norm", width, 2 * width),
            Linear("projector", out, width, out, role=VISION),
        )
        after: tuple[Block, ...] = (OnTokens(blocks=last, plus=1, over=4), Constant("audio_bos_eos", 2 * out))
    else:
        channels = a.integer("downsample_hidden_size", default=480)
        rows = [_halved(mels, number) for number in (1, 2, 3)]
        before = tuple(
            convolution(f"conv{number}", number, channels, 9 * (channels if number > 1 else 1), rows=rows[number - 1])
            for number in (1, 2, 3)
        )
        before = (*before, convolution("conv_out", 3, width, channels * rows[2], bias=False))
        last = (Norm("post_norm", width, 2 * width), *two_layers(width, out, hidden=width, bias=True))
        after = (_InChunks(blocks=last, chunk=chunk, halvings=3),)
    layers = tuple(
        attrs.evolve(group, blocks=(_InChunks(blocks=group.blocks, chunk=chunk, halvings=halvings),))
        for group in attrs.evolve(spec, chunk=window).layers("audio.layers")
    )
    return _Chunks(stack=Stack(AUDIO, layers, before, after), chunk=chunk, halvings=halvings, per_token=2 if old else 1)


def qwen3_asr(f: Fields) -> Architecture:
    """Qwen3-ASR: the encoder of Qwen3-Omni before a decoder of text alone."""
    return attrs.evolve(read_text(f, "qwen3"), family=f.model_type, audio=qwen_omni_audio(f, "qwen3_asr"))


def glmasr(f: Fields) -> Architecture:
    """GLM-ASR: Whisper's layers with rotary positions; positions side by side, as many as the MLP is wide."""
    text, a = read_text(f, "llama"), f.part("audio_config", "glmasr_encoder")
    width, inner, out = a.dim("hidden_size"), a.dim("intermediate_size"), text_width(text)
    over = a.divides("intermediate_size", inner, "hidden_size", width)
    spec = attrs.evolve(_whisper_layers(a), kv_heads=a.opt_int("num_key_value_heads"), head_dim=a.opt_int("head_dim"))
    positions = a.integer("max_position_embeddings", default=1500)
    before = whisper_convolutions(width, a.integer("num_mel_bins", default=128), 0, role=VISION)
    projector = OnTokens(blocks=two_layers(inner, out, hidden=2 * out, bias=True), over=over)
    stack = Stack(AUDIO, spec.layers("audio.layers"), before, (Norm("post_norm", width, 2 * width), projector))
    return attrs.evolve(text, family=f.model_type, audio=_Windows(stack=stack, positions=positions, merge=over))


AUDIO_TEXT: dict[str, Builder] = {
    "glmasr": glmasr,
    "qwen3_asr": Verified(qwen3_asr),
    "musicflamingo": audio_flamingo3,
    "qwen2_audio": qwen2_audio,
    "audioflamingo3": audio_flamingo3,
    "voxtral": voxtral,
}
