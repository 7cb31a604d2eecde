"""Unlimited-OCR: DeepSeek-OCR's towers before a decoder whose window keeps the whole prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from nsys_pipeline.errors import ModelError
from nsys_pipeline.model.architecture import Architecture
from nsys_pipeline.model.blocks import Attention, Block
from nsys_pipeline.model.emitter import Pass
from nsys_pipeline.model.families.common import DecoderSpec, layer_kinds, read_dims
from nsys_pipeline.model.families.moe import deepseek_ffn
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.masks import causal_pairs, triangle

WINDOWED = "reference_sliding_attention"


@attrs.frozen(kw_only=True)
class PromptAttention(Attention):
    """Attention to the whole prompt and, of what came after it, to the last `window` tokens, itself included."""

    def _load(self, run: Pass, mode: str) -> tuple[int, int]:
        """Twice the pairs and the cached tokens read. Raises ModelError if nobody says where a long prompt ends."""
        pairs2 = read = 0
        step = run.step
        prompts: tuple[int | None, ...] = step.prompts or (None,) * step.batch
        for (q, cached, told), count in Counter(zip(step.q_tokens, step.kv_tokens, prompts, strict=True)).items():
            prompt = self._prompt(q, cached) if told is None else told
            held = min(cached, prompt) + min(max(0, cached - prompt), self._reach - 1)
            read += count * (held if q else 0)
            if mode == "exact":
                pairs2 += 2 * count * (self._pairs(cached + q, prompt) - self._pairs(cached, prompt))
            else:
                pairs2 += count * q * (2 * held + (q if mode == "half" else 2 * q))
        return pairs2, read

    @property
    def _reach(self) -> int:
        assert self.window is not None  # noqa: S101 - layers that see everything are plain attention
        return self.window

    def _prompt(self, q: int, cached: int) -> int:
        """The prompt of a sequence that does not say it: all is one, or no token has left the window."""
        if cached and cached + q > self._reach:
            raise ModelError(
                f"the decoder sees the prompt and {self._reach} tokens behind it, and a step after {cached} tokens"
                " does not say where its prompt ends",
                hint="mark requests, or their prefill and decode, as ranges (docs/architecture.md, Contract 1)",
            )
        return cached + q

    def _pairs(self, tokens: int, prompt: int) -> int:
        """Pairs of the first `tokens` positions."""
        after = max(0, tokens - prompt)
        return triangle(min(tokens, prompt)) + after * prompt + causal_pairs(after, 0, self._reach)


def unlimited_ocr_text(f: Fields) -> Architecture:
    """DeepSeek's experts with multi-head attention; a window of 128 tokens behind the prompt in every layer."""
    # transformers' class derives the first, and takes the second away.
    f = f.replaced(head_dim=None, first_k_dense_replace=f.integer("first_k_dense_replace", default=1, minimum=0))
    dims, bias = read_dims(f), f.flag("attention_bias")
    window = f.integer("sliding_window", default=128)
    kinds = layer_kinds(f, dims.depth, lambda _: WINDOWED, (WINDOWED, "full_attention"))
    model = DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        windows=[window if kind == WINDOWED else None for kind in kinds],
        ffn=deepseek_ffn(f, dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("unlimited_ocr_text")
    assert model.decoder is not None  # noqa: S101 - it has just been built
    layers = tuple(attrs.evolve(group, blocks=tuple(map(_keeping, group.blocks))) for group in model.decoder.layers)
    keeps = WINDOWED in kinds
    return attrs.evolve(model, decoder=attrs.evolve(model.decoder, layers=layers), window_keeps_prompt=keeps)


def _keeping(block: Block) -> Block:
    """A block whose window, if it has one, keeps the prompt."""
    if not isinstance(block, Attention) or block.window is None:
        return block
    return PromptAttention(**attrs.asdict(block, recurse=False))


def text_config(f: Fields) -> tuple[str, Fields]:
    """Where the decoder's config is, and all of it there: published ones have it apart, and the window at the top."""
    name = "text_config" if f.has("text_config") or not f.has("language_config") else "language_config"
    text: Any = f.get(name, default={})
    if not isinstance(text, Mapping):
        raise f.wrong(name, f"is {text!r}, not an object")
    if name == "language_config" and f.has("sliding_window"):
        text = {**text, "sliding_window": f.get("sliding_window")}
    return name, f.replaced(**{name: {**text, "model_type": "unlimited_ocr_text"}})
