"""T5Gemma 2: Gemma 3's layers as an encoder that sees, and as a decoder whose attention is over both sides at once."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack, group_layers
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
)
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import Builder, Dims, Verified, every, read_dims, sliding
from nsys_pipeline.model.families.towers import read_tower
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.masks import bidirectional_pairs
from nsys_pipeline.model.quantization import ATTENTION, VISION


@attrs.frozen(kw_only=True)
class _EncoderAttention(Attention):
    """Attention without a causal mask in which a token sees `window` tokens in all, one less before it than after.

    If the window is odd, as many on either side.
    """

    def _load(self, run: Pass, mode: str) -> tuple[int, int]:
        if self.window is None or mode != "exact":
            return super()._load(run, mode)
        before, after = (self.window + 1) // 2, self.window // 2 + 1
        return sum(bidirectional_pairs(n, before) + bidirectional_pairs(n, after) for n in run.step.q_tokens), 0


@attrs.frozen(kw_only=True)
class _SameMatrices(CrossAttention):
    """What a layer's one attention does with the encoder's tokens: K and V by the matrices of its own tokens."""

    @property
    def params(self) -> int:
        return 0

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        if not run.first:
            return
        encoded, outputs = sum(run.encoder_tokens), self._kv_out
        flops = 2 * encoded * outputs * self.encoder_width
        emit.add(
            "gemm",
            "cross_kv",
            m=encoded,
            n=outputs,
            k=self.encoder_width,
            dtype=emit.formats(ATTENTION, "qkv")[-1].compute,
            flops=flops,
            executed=max(1, emit.tp // self.kv_heads) * flops,
            activation=emit.plain_bytes(encoded * (outputs + self.encoder_width)),
        )


def t5gemma2(f: Fields) -> Architecture:
    """SigLIP, pooled to tokens of the encoder's prompt, and two stacks of layers that share tables and head."""
    encoder, d = f.sub("encoder", model_type="t5gemma2_encoder"), f.sub("decoder", model_type="t5gemma2_decoder")
    e = encoder.part("text_config", "t5gemma2_text")
    seen, dims = read_dims(e), read_dims(d)
    if not f.flag("is_encoder_decoder", default=True):
        raise f.wrong("is_encoder_decoder", "is false; T5Gemma 2's encoder alone is not supported")
    if (seen.width, seen.vocab) != (dims.width, dims.vocab):
        raise e.wrong("hidden_size", "and `vocab_size` are not those of the decoder")
    tied, width = f.flag("tie_word_embeddings", default=True), dims.width
    table, ending = Embedding("embed", dims.vocab, width, tied=tied), Constant("eoi_embedding", width)
    final = Norm("final_norm", width, width)
    stacks = (
        Stack("encoder", group_layers("encoder.layers", _layers(e, seen, causal=False)), (table, ending), (final,)),
        Stack(
            "decoder",
            group_layers("layers", _layers(d, dims, causal=True)),
            (table,) if tied else (table, ending),
            (final, Head(dims.vocab, width)),
        ),
    )
    tower = read_tower(encoder, "siglip_vision_model")
    projector = (
        Norm("projector_norm", tower.width, tower.width),
        Linear("projector", width, tower.width, role=VISION),
    )
    tower = tower.with_projector(OnTokens(blocks=projector, fixed=encoder.integer("mm_tokens_per_image", default=256)))
    return Architecture(
        family="t5gemma2", encoder=stacks[0], decoder=stacks[1], heads=dims.heads, kv_heads=dims.kv_heads,
        vision=tower.stack, vision_tokens=tower.tokens, vision_extra=tower.extra,
    )  # fmt: skip


def _layers(side: Fields, dims: Dims, *, causal: bool) -> list[tuple[str, tuple[Block, ...]]]:
    width, bias = dims.width, side.flag("attention_bias")
    mlp = Mlp(width=width, hidden=side.dim("intermediate_size"))
    norms = tuple(Norm(f"norm_{number}", width, width) for number in range(4))
    cross = _SameMatrices(
        width=width, encoder_width=width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim
    )
    kind = Attention if causal else _EncoderAttention
    layers: list[tuple[str, tuple[Block, ...]]] = []
    for window in sliding(side, dims.depth, every(side, dims.depth, 6)):
        attention = kind(
            width=width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim, q_bias=bias, kv_bias=bias,
            o_bias=bias, causal=causal, cached=causal, window=window, extra_params=dims.qk_norm_per_head,
        )  # fmt: skip
        layers.append(("sliding" if window else "", (*norms, attention, *((cross,) if causal else ()), mlp)))
    return layers


T5GEMMA2: dict[str, Builder] = {"t5gemma2": Verified(t5gemma2)}
