"""Dense decoders. What differs between families: biases, norms, windows, tied tables, position tables."""

from __future__ import annotations

import attrs

from nsys_pipeline.model.architecture import Architecture, group_layers
from nsys_pipeline.model.blocks import Embedding, Head, LastTokens, Linear, Mlp, Norm
from nsys_pipeline.model.families.common import (
    Builder,
    DecoderSpec,
    Verified,
    check_kinds,
    dense_ffn,
    layer_kinds,
    lettered_windows,
    norm_weights,
    per_layer,
    read_dims,
    read_window,
    sliding,
    uniform,
)
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION


def mistral(f: Fields) -> Architecture:
    """Llama without biases; a window in every layer unless it is null."""
    dims = read_dims(f)
    windows = sliding(f, dims.depth, lambda _: True) if f.has("layer_types") else None
    return DecoderSpec(
        dims=dims,
        windows=windows or uniform(dims.depth, read_window(f)),
        ffn=dense_ffn(f, dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("mistral")


def qwen2_windows(f: Fields, depth: int) -> list[int | None]:
    """Qwen's windows: only if `use_sliding_window`, from layer `max_window_layers` on."""
    if not f.flag("use_sliding_window"):
        check_kinds(f, depth, "full_attention", "sliding_attention")
        return uniform(depth, None)
    first = f.integer("max_window_layers", default=depth, minimum=0)
    return sliding(f, depth, lambda index: index >= first)


def qwen2(f: Fields) -> Architecture:
    """Biases on Q, K and V but not on O."""
    dims = read_dims(f)
    return DecoderSpec(
        dims=dims,
        q_bias=True,
        windows=qwen2_windows(f, dims.depth),
        ffn=dense_ffn(f, dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("qwen2")


def qwen3(f: Fields) -> Architecture:
    """Norms on each head of Q and K; head_dim of its own."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head,
        windows=qwen2_windows(f, dims.depth),
        ffn=dense_ffn(f, dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("qwen3")


def gpt_bigcode(f: Fields) -> Architecture:
    """GPT-2 with one K and V head (StarCoder 1)."""
    dims = read_dims(f, kv_heads=1 if f.flag("multi_query", default=True) else f.dim("num_attention_heads"))
    return DecoderSpec(
        dims=dims,
        q_bias=True,
        o_bias=True,
        norm="layer",
        ffn=dense_ffn(f, dims.width, gated=False, bias=True, hidden=f.opt_int("n_inner") or 4 * dims.width),
        tied=f.flag("tie_word_embeddings"),
        positions=f.dim("n_positions", "max_position_embeddings"),
    ).build("gpt_bigcode")


def opt(f: Fields) -> Architecture:
    """Learned positions (two rows more than the context); OPT-350m projects its embedding and norms afterwards."""
    dims, bias = read_dims(f, kv_heads=f.dim("num_attention_heads")), f.flag("enable_bias", default=True)
    embed = f.opt_int("word_embed_proj_dim") or dims.width
    affine = f.flag("layer_norm_elementwise_affine", default=True)
    before = f.flag("do_layer_norm_before", default=True)
    spec = DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        norm="layer" if affine else "plain",
        final_norm=before and not f.flag("_remove_final_layer_norm"),
        ffn=dense_ffn(f, dims.width, gated=False, bias=bias, hidden=f.dim("ffn_dim")),
        tied=f.flag("tie_word_embeddings"),
        positions=f.dim("max_position_embeddings") + 2,
    )
    if embed == dims.width:
        return spec.build("opt")
    stack = spec.stack()
    first = (Embedding("embed", dims.vocab, embed, tied=spec.tied), Linear("project_in", dims.width, embed))
    last = (*stack.after[:-1], Linear("project_out", embed, dims.width), Head(dims.vocab, embed))
    stack = attrs.evolve(stack, before=(*first, *stack.before[1:]), after=last)
    return Architecture(family="opt", decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads)


def falcon(f: Fields) -> Architecture:
    """Multi-query (7B), grouped-query with two norms (`new_decoder_architecture`: 40B, 180B) or multi-head."""
    heads = f.dim("num_attention_heads")
    new = f.flag("new_decoder_architecture")
    kv = f.integer("num_kv_heads", default=heads) if new else 1 if f.flag("multi_query", default=True) else heads
    dims, bias = read_dims(f, kv_heads=kv), f.flag("bias")
    in_parallel = f.opt_int("num_ln_in_parallel_attn") or (2 if new else 1)
    is_parallel = f.flag("parallel_attn", default=True)
    norms = 1 if is_parallel and in_parallel != 2 else 2
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        norm="layer",
        norms=norms,
        is_parallel=is_parallel,
        ffn=dense_ffn(f, dims.width, gated=False, bias=bias, hidden=f.opt_int("ffn_hidden_size") or 4 * dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("falcon")


def smollm3(f: Fields) -> Architecture:
    """Llama with some layers without rotary positions; those slide if a window is in use."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    windows = uniform(dims.depth, None)
    # transformers keeps a sliding cache for the layers that `layer_types` calls so, whatever the switch says.
    if f.flag("use_sliding_window") or f.has("layer_types"):
        no_rope = per_layer(f, "no_rope_layers", dims.depth)
        interval = f.integer("no_rope_layer_interval", default=4)
        rope = no_rope or [int((index + 1) % interval != 0) for index in range(dims.depth)]
        windows = sliding(f, dims.depth, lambda index: not rope[index])
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        windows=windows,
        ffn=dense_ffn(f, dims.width, bias=f.flag("mlp_bias")),
        tied=f.flag("tie_word_embeddings"),
    ).build("smollm3")


def exaone4(f: Fields) -> Architecture:
    """Norms after the blocks and on each head of Q and K."""
    dims = read_dims(f)
    return DecoderSpec(
        dims=dims,
        qk_norm=dims.qk_norm_per_head,
        windows=sliding(f, dims.depth, lettered_windows(f)),
        ffn=dense_ffn(f, dims.width),
        tied=f.flag("tie_word_embeddings"),
    ).build("exaone4")


def apertus(f: Fields) -> Architecture:
    """A plain MLP whose activation (xIELU) has two trained scalars; norms on each head of Q and K.

    The head of Apertus 1.5 may lack the rows of images and sound.
    """
    dims, bias = read_dims(f), f.flag("attention_bias")
    mlp = Mlp(width=dims.width, hidden=f.dim("intermediate_size"), gated=False, extra_params=2)
    spec = DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.qk_norm_per_head,
        ffn=lambda _: ("", mlp),
        tied=f.flag("tie_word_embeddings"),
    )
    model, rows = spec.build(f.model_type), f.opt_int("output_vocab_size")
    if f.model_type != "apertus1p5_text" or rows in (None, dims.vocab):
        return model
    if rows > dims.vocab or spec.tied:
        raise f.wrong("output_vocab_size", f"is {rows}, for a table of {dims.vocab} that is tied or smaller")
    stack = spec.stack()
    return attrs.evolve(model, decoder=attrs.evolve(stack, after=(*stack.after[:-1], Head(rows, dims.width))))


def bitnet(f: Fields) -> Architecture:
    """Llama with a norm before O and one before the MLP's last matrix (BitNet b1.58)."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    mlp = Mlp(width=dims.width, hidden=f.dim("intermediate_size"), extra_params=f.dim("intermediate_size"))
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=dims.width,
        ffn=lambda _: ("", mlp),
        tied=f.flag("tie_word_embeddings"),
    ).build("bitnet")


def gpt_neo(f: Fields) -> Architecture:
    """GPT-2 without biases on Q, K and V; local layers see 256 tokens, but the cache keeps all of them."""
    dims = read_dims(f, kv_heads=f.dim("num_heads", "num_attention_heads"))
    kinds: list[str] = []
    for entry in f.items("attention_types") or [[["global", "local"], 12]]:
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], list) and type(entry[1]) is int):
            raise f.wrong("attention_types", f"holds {entry!r}, not a list of kinds and how often it is repeated")
        kinds += [str(kind) for kind in entry[0]] * entry[1]
    if len(kinds) != dims.depth:
        raise f.wrong("attention_types", f"lists {len(kinds)} layers, but there are {dims.depth}")
    window = f.integer("window_size", default=256)
    return DecoderSpec(
        dims=dims,
        o_bias=True,
        norm="layer",
        windows=[window if kind == "local" else None for kind in kinds],
        rolling=False,
        ffn=dense_ffn(f, dims.width, gated=False, bias=True, hidden=f.opt_int("intermediate_size") or 4 * dims.width),
        tied=f.flag("tie_word_embeddings"),
        positions=f.dim("max_position_embeddings"),
    ).build("gpt_neo")


def helium(f: Fields) -> Architecture:
    """Llama whose O is as wide as the model and has no bias."""
    dims = read_dims(f)
    if dims.heads * dims.head_dim != dims.width:
        raise f.wrong("head_dim", f"= {dims.head_dim} times {dims.heads} heads is not hidden_size = {dims.width}")
    return DecoderSpec(
        dims=dims,
        q_bias=f.flag("attention_bias"),
        ffn=dense_ffn(f, dims.width, bias=f.flag("mlp_bias")),
        tied=f.flag("tie_word_embeddings"),
    ).build("helium")


def muse_glimmer(f: Fields) -> Architecture:
    """Four norms and a gate on the attention's output; three sliding layers to a full one, which comes last."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    gate = Linear("attention_gate", dims.heads * dims.head_dim, dims.width, role=ATTENTION)
    return DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        norms=4,
        windows=sliding(f, dims.depth, lambda index: (dims.depth - 1 - index) % 4 != 0),
        ffn=dense_ffn(f, dims.width),
        more=(gate,),
        tied=f.flag("tie_word_embeddings"),
    ).build("muse_glimmer")


def molmo2(f: Fields) -> Architecture:
    """Qwen3 whose table has rows that the head does not; norms on heads, or on the whole of Q and K."""
    dims = read_dims(f)
    kinds = {"qwen3": dims.qk_norm_per_head, "olmo": dims.qk_norm_full}
    kind = f.text("qk_norm_type", default="qwen3")
    if kind not in kinds:
        raise f.wrong("qk_norm_type", f"is {kind!r}; known kinds are {', '.join(kinds)}")
    spec = DecoderSpec(
        dims=dims, q_bias=f.flag("attention_bias"), qk_norm=kinds[kind], ffn=dense_ffn(f, dims.width), tied=False
    )
    stack = spec.stack()
    table = Embedding("embed", dims.vocab + f.integer("additional_vocab_size", minimum=0), dims.width)
    stack = attrs.evolve(stack, before=(table, *stack.before[1:]))
    return Architecture(family="molmo2", decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads)


def modernbert_decoder(f: Fields) -> Architecture:
    """ModernBERT with a causal mask; a linear layer and a norm before the head, for the positions that have logits."""
    dims, bias = read_dims(f, kv_heads=f.dim("num_attention_heads")), f.flag("attention_bias")
    interval, norm = f.integer("global_attn_every_n_layers", default=3), "layer" if f.flag("norm_bias") else "rms"
    kinds = layer_kinds(f, dims.depth, lambda i: "sliding_attention" if i % interval else "full_attention")
    window = f.integer("local_attention", default=128) // 2
    spec = DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        norm=norm,
        embedding_norm=True,
        windows=[window if kind == "sliding_attention" else None for kind in kinds],
        ffn=dense_ffn(f, dims.width, bias=f.flag("mlp_bias")),
        tied=f.flag("tie_word_embeddings"),
        head_bias=f.flag("decoder_bias", default=True),
    )
    layers = [spec.layer(index) for index in range(dims.depth)]
    # The first layer's attention has no norm of its own: the embedding's serves.
    layers[0] = (layers[0][0], layers[0][1][1:])
    stack, weights = spec.stack(), norm_weights(norm, dims.width)
    transform = Linear("transform", dims.width, dims.width, dims.width if f.flag("classifier_bias") else 0)
    last = LastTokens(blocks=(transform, Norm("transform_norm", dims.width, weights)))
    after = (*stack.after[:-1], last, stack.after[-1])
    stack = attrs.evolve(stack, layers=group_layers("layers", layers), after=after)
    return Architecture(family=f.model_type, decoder=stack, heads=dims.heads, kv_heads=dims.kv_heads)


def chameleon(f: Fields) -> Architecture:
    """Llama with a scale and a shift for each head of Q and K; images come as tokens of the table."""
    dims, bias = read_dims(f), f.flag("attention_bias")
    text = DecoderSpec(
        dims=dims,
        q_bias=bias,
        o_bias=bias,
        qk_norm=2 * dims.qk_norm_full,
        ffn=dense_ffn(f, dims.width, bias=f.flag("mlp_bias")),
        tied=f.flag("tie_word_embeddings"),
    ).build("chameleon")
    return attrs.evolve(text, text_only=True)


DENSE: dict[str, Builder] = {
    "mistral": Verified(mistral),
    "ministral": Verified(mistral),
    "ministral3": Verified(mistral),
    "qwen2": Verified(qwen2),
    "qwen2_vl_text": Verified(qwen2),
    "qwen2_5_vl_text": Verified(qwen2),
    "qwen2_5_omni_text": qwen2,
    "qwen3": Verified(qwen3),
    "qwen3_vl_text": Verified(qwen3),
    "gpt_bigcode": Verified(gpt_bigcode),
    "opt": Verified(opt),
    "falcon": Verified(falcon),
    "smollm3": Verified(smollm3),
    "exaone4": Verified(exaone4),
    "apertus": Verified(apertus),
    "apertus1p5_text": Verified(apertus),
    "helium": Verified(helium),
    "bitnet": Verified(bitnet),
    "gpt_neo": Verified(gpt_neo),
    "chameleon": Verified(chameleon),
    "modernbert-decoder": Verified(modernbert_decoder),
    "molmo2_text": Verified(molmo2),
    "muse_glimmer_text": Verified(muse_glimmer),
}
