"""Encoder-decoders. The prefill runs the encoder, projects its keys and values once, and the first decoder tokens."""

from __future__ import annotations

from collections.abc import Collection

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
    Moe,
    Norm,
    OnTokens,
)
from nsys_pipeline.model.families.common import Builder, Verified, every, read_dims, sliding
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import MLP


def t5(f: Fields) -> Architecture:
    """T5, mT5, UMT5, Switch: relative position biases and no others; one table for both stacks and (if tied) head."""
    width, heads, head_dim = f.dim("d_model"), f.dim("num_heads"), f.dim("d_kv")
    depth = f.dim("num_layers")
    decoder_depth = f.opt_int("num_decoder_layers") or depth
    vocab = f.dim("vocab_size")
    mlp = Mlp(width=width, hidden=f.dim("d_ff"), gated=f.text("feed_forward_proj", default="relu").startswith("gated"))
    buckets = f.integer("relative_attention_num_buckets", default=32) * heads
    # UMT5 has a table of position biases in every layer, T5 only in the first one of each stack.
    each = f.model_type == "umt5"

    def attention(*, causal: bool) -> Attention:
        return Attention(
            width=width, heads=heads, kv_heads=heads, head_dim=head_dim, causal=causal, cached=causal,
            extra_params=buckets if each else 0,
        )  # fmt: skip

    def norm(name: str) -> Norm:
        return Norm(name, width, width)

    cross = CrossAttention(width=width, encoder_width=width, heads=heads, kv_heads=heads, head_dim=head_dim)
    tied = f.flag("tie_word_embeddings", default=True)
    bias = () if each else (Constant("position_bias", buckets),)
    # Switch's tables are not tied to each other unless they are to the head; the shared one serves none of them then.
    apart = f.model_type == "switch_transformers"
    sparse = _switch(f, width, depth, decoder_depth) if apart else (None, (), ())

    def layers(label: str, depth: int, with_experts: Collection[int], *mixers: Block) -> tuple[Layers, ...]:
        described = [
            ("moe", (*mixers, norm("mlp_norm"), sparse[0]))
            if sparse[0] and index in with_experts
            else ("", (*mixers, norm("mlp_norm"), mlp))
            for index in range(depth)
        ]
        return group_layers(label, described)

    encoder = Stack(
        "encoder",
        layers("encoder.layers", depth, sparse[1], norm("attention_norm"), attention(causal=False)),
        (Embedding("embed", vocab, width, tied=tied or not apart), *bias),
        (norm("final_norm"),),
    )
    mixers = (norm("attention_norm"), attention(causal=True), norm("cross_norm"), cross)
    decoder = Stack(
        "decoder",
        layers("layers", decoder_depth, sparse[2], *mixers),
        (Embedding("embed", vocab, width, tied=tied), *bias),
        (norm("final_norm"), Head(vocab, width)),
    )
    return Architecture(
        family=f.model_type, encoder=encoder, decoder=decoder, heads=heads, kv_heads=heads,
        unused_params=vocab * width if apart and not tied else 0,
    )  # fmt: skip


def _switch(f: Fields, width: int, *depths: int) -> tuple[Moe, Collection[int], Collection[int]]:
    """Switch Transformers' experts, and the layers of encoder and decoder that have them.

    A token goes to one expert. Those over an expert's capacity are dropped there; that is not charged less.
    """
    experts = f.dim("num_experts")
    bias = experts if f.flag("router_bias") else 0
    moe = Moe(width=width, hidden=f.dim("d_ff"), experts=experts, top_k=1, gated=False, router_bias=bias)
    places: list[Collection[int]] = []
    for side, depth in zip(("encoder", "decoder"), depths, strict=True):
        count = f.integer(f"num_sparse_{side}_layers", minimum=0)
        # As transformers has it: none at all is still one, the second layer, and more than there are is none.
        step = depth // count if count else depth
        places.append([index for index in range(depth) if step and (step == 1 or index % step == 1)])
    return moe, places[0], places[1]


def t5gemma(f: Fields) -> Architecture:
    """Two stacks of Gemma 2's layers, each with a config and a table of its own; the decoder's has cross-attention."""
    sides = {name: f.sub(name, model_type="t5_gemma_module") for name in ("encoder", "decoder")}
    if not f.flag("is_encoder_decoder", default=True):
        raise f.wrong("is_encoder_decoder", "is false; T5Gemma's encoder alone is not supported")
    sizes = {name: read_dims(side) for name, side in sides.items()}
    stacks: dict[str, Stack] = {}
    for name, side in sides.items():
        dims, bias, causal = sizes[name], side.flag("attention_bias"), name == "decoder"
        width = dims.width
        mlp = Mlp(width=width, hidden=side.dim("intermediate_size"))
        norms = tuple(Norm(f"norm_{number}", width, width) for number in range(6 if causal else 4))
        cross = CrossAttention(
            width=width, encoder_width=sizes["encoder"].width, heads=dims.heads, kv_heads=dims.kv_heads,
            head_dim=dims.head_dim, q_bias=bias, k_bias=bias, v_bias=bias, o_bias=bias,
        )  # fmt: skip
        layers: list[tuple[str, tuple[Block, ...]]] = []
        for window in sliding(side, dims.depth, every(side, dims.depth, 2)):
            # Without a causal mask a token sees as many tokens on either side.
            attention = Attention(
                width=width, heads=dims.heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim, q_bias=bias,
                kv_bias=bias, o_bias=bias, causal=causal, cached=causal,
                window=window if causal or window is None else window + 1,
            )  # fmt: skip
            layers.append(("sliding" if window else "", (*norms, attention, *((cross,) if causal else ()), mlp)))
        tied = causal and f.flag("tie_word_embeddings", default=True)
        table = Embedding("embed", dims.vocab, width, tied=tied)
        head = (Head(dims.vocab, width),) if causal else ()
        label = "layers" if causal else "encoder.layers"
        stacks[name] = Stack(name, group_layers(label, layers), (table,), (Norm("final_norm", width, width), *head))
    dims = sizes["decoder"]
    return Architecture(
        family="t5gemma", encoder=stacks["encoder"], decoder=stacks["decoder"], heads=dims.heads, kv_heads=dims.kv_heads
    )


def bart_layers(
    f: Fields, side: str, width: int, *, k_bias: bool, encoder_width: int | None = None
) -> tuple[Layers, int]:
    """Bart's layers: `side` is encoder or decoder; the decoder's have cross-attention, to tokens of `encoder_width`."""
    heads = f.dim(f"{side}_attention_heads")
    head_dim = f.divides("d_model", width, f"{side}_attention_heads", heads)
    causal = side == "decoder"
    attention = Attention(
        width=width, heads=heads, kv_heads=heads, head_dim=head_dim, q_bias=True, kv_bias=k_bias, v_bias=True,
        o_bias=True, causal=causal, cached=causal,
    )  # fmt: skip
    blocks: list[Block] = [Norm("attention_norm", width, 2 * width), attention]
    if causal:
        cross = CrossAttention(
            width=width, encoder_width=encoder_width or width, heads=heads, kv_heads=heads, head_dim=head_dim,
            q_bias=True, k_bias=k_bias, v_bias=True, o_bias=True,
        )  # fmt: skip
        blocks += [Norm("cross_norm", width, 2 * width), cross]
    mlp = Mlp(width=width, hidden=f.dim(f"{side}_ffn_dim"), gated=False, bias=True)
    blocks += [Norm("mlp_norm", width, 2 * width), mlp]
    label = "encoder.layers" if side == "encoder" else "layers"
    return Layers(label, tuple(range(f.dim(f"{side}_layers"))), tuple(blocks)), heads


def bart(f: Fields) -> Architecture:
    """Bart (norm after the embedding), mBART, Pegasus and M2M-100 (norm after the stack), Marian (neither)."""
    width, vocab = f.dim("d_model"), f.dim("vocab_size")
    encoder_layers, _ = bart_layers(f, "encoder", width, k_bias=True)
    decoder_layers, heads = bart_layers(f, "decoder", width, k_bias=True)
    kind = f.model_type
    learned = kind in ("bart", "mbart")
    # Learned tables have two more rows than positions; Pegasus and Marian store sinusoidal ones, M2M-100 does not.
    positions = f.dim("max_position_embeddings") + (2 if learned else 0)
    positions = 0 if kind == "m2m_100" else positions
    embed_norm = kind in ("bart", "mbart")
    final_norm = kind in ("mbart", "pegasus", "m2m_100")

    def before(*, tied: bool) -> tuple[Block, ...]:
        blocks: list[Block] = [Embedding("embed", vocab, width, tied=tied)]
        blocks.append(Embedding("embed_positions", positions, width))
        if embed_norm:
            blocks.append(Norm("embed_norm", width, 2 * width))
        return tuple(blocks)

    after: tuple[Block, ...] = (Norm("final_norm", width, 2 * width),) if final_norm else ()
    tied = f.flag("tie_word_embeddings", default=True)
    # Tables that are not tied to the head are not tied to each other, and the shared one serves none of them.
    shared = tied and f.flag("share_encoder_decoder_embeddings", default=True)
    encoder = Stack("encoder", (encoder_layers,), before(tied=shared), after)
    decoder = Stack("decoder", (decoder_layers,), before(tied=tied), (*after, Head(vocab, width)))
    return Architecture(
        family=kind, encoder=encoder, decoder=decoder, heads=heads, kv_heads=heads,
        unused_params=0 if tied else vocab * width,
    )  # fmt: skip


def florence2(f: Fields) -> Architecture:
    """Bart whose encoder also reads the tokens of an image; the image tower is not described."""
    text = f.sub("text_config", model_type="bart")
    if text.model_type not in ("bart", "florence2_language"):
        raise f.wrong("text_config", f"is of model type `{text.model_type}`; only Bart is supported")
    return attrs.evolve(bart(text.named("bart")), family="florence2", text_only=True)


def whisper_convolutions(width: int, mels: int, positions: int, *, role: str) -> tuple[Block, ...]:
    """What Whisper's encoder (arXiv 2212.04356) begins with: two convolutions, the second of stride 2."""
    return (
        OnTokens(blocks=(Linear("conv1", width, 3 * mels, width, role=role),), times=2),
        Linear("conv2", width, 3 * width, width, role=role),
        Constant("embed_positions", positions * width),
    )


def whisper(f: Fields) -> Architecture:
    """Whisper: two convolutions halve 3000 mel frames to 1500 positions; K has no bias; the head is tied."""
    width, vocab = f.dim("d_model"), f.dim("vocab_size")
    mels = f.dim("num_mel_bins")
    positions = f.dim("max_source_positions")
    encoder_layers, _ = bart_layers(f, "encoder", width, k_bias=False)
    decoder_layers, heads = bart_layers(f, "decoder", width, k_bias=False)
    norm = Norm("final_norm", width, 2 * width)
    encoder = Stack(
        "encoder",
        (encoder_layers,),
        whisper_convolutions(width, mels, positions, role=MLP),
        (norm,),
    )
    tied = f.flag("tie_word_embeddings", default=True)
    decoder = Stack(
        "decoder",
        (decoder_layers,),
        (
            Embedding("embed", vocab, width, tied=tied),
            Embedding("embed_positions", f.dim("max_target_positions"), width),
        ),
        (norm, Head(vocab, width)),
    )
    return Architecture(
        family="whisper", encoder=encoder, decoder=decoder, encoder_tokens=positions, heads=heads, kv_heads=heads
    )


SEQ2SEQ: dict[str, Builder] = {
    "t5": Verified(t5),
    "mt5": Verified(t5),
    "umt5": Verified(t5),
    "switch_transformers": Verified(t5),
    "t5gemma": Verified(t5gemma),
    "bart": Verified(bart),
    "mbart": Verified(bart),
    "pegasus": Verified(bart),
    "marian": Verified(bart),
    "m2m_100": Verified(bart),
    "florence2": florence2,
    "whisper": Verified(whisper),
}
