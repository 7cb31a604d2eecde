"""Encoders of text. Which head a checkpoint has is read from `architectures`."""

from __future__ import annotations

import re

import attrs

from nsys_pipeline.model.architecture import Architecture, Stack
from nsys_pipeline.model.blocks import Block, Constant, Embedding, Head, LastTokens, Linear, Norm, OnTokens
from nsys_pipeline.model.emitter import Emitter, Pass
from nsys_pipeline.model.families.common import (
    Builder,
    Verified,
    class_names,
    label_count,
    layer_kinds,
    norm_weights,
    read_dims,
)
from nsys_pipeline.model.families.encoders import EncoderSpec, heads_of
from nsys_pipeline.model.fields import Fields
from nsys_pipeline.model.quantization import ATTENTION

#: Classes whose heads are known. `…LMHeadModel` is what BERT's kin call `…ForCausalLM`.
_CLASSES = re.compile(
    r"Model$|For(?:MaskedLM|CausalLM|PreTraining|NextSentencePrediction|MultipleChoice|QuestionAnswering)$"
    r"|For(?:Sequence|Token)Classification$"
)


def _masked(f: Fields) -> bool:
    return "MaskedLM" in class_names(f)


def _writes(f: Fields) -> bool:
    """Whether the class is one that writes texts, or learns to."""
    return "LMHeadModel" in class_names(f) or "ForCausalLM" in class_names(f)


def _unread(f: Fields) -> tuple[str, ...]:
    names = class_names(f).split()
    return ("architectures",) if names and not _CLASSES.search(names[0]) else ()


def _classifier(f: Fields, width: int, *hidden: Block, of_tokens: tuple[Block, ...] = ()) -> list[Block] | None:
    """The head of a class that sorts texts, behind `hidden`, or tokens, behind `of_tokens`; None for other classes.

    A choice of several is a text of its own, with one score.
    """
    names, labels = class_names(f), label_count(f)
    head = Linear("classifier", labels, width, labels)
    if "ForMultipleChoice" in names:
        return [OnTokens(blocks=(*hidden, Linear("classifier", 1, width, 1)), fixed=1)]
    if "ForSequenceClassification" in names:
        return [OnTokens(blocks=(*hidden, head), fixed=1)]
    return [*of_tokens, head] if "ForTokenClassification" in names or "ForQuestionAnswering" in names else None


#: Types whose masked-LM head has one bias. The others have two, which are the same one as long as the table is tied.
_ONE_BIAS = frozenset({"electra", "esm", "gte"})


def _spare_bias(f: Fields, vocab: int, *, masked: bool, tied: bool) -> int:
    """Parameters of the bias that no pass reads."""
    return vocab if masked and not tied and f.model_type not in _ONE_BIAS else 0


@attrs.frozen(kw_only=True)
class _Bert:
    """What differs between BERT's kin: tables beside the words', norms, biases, the gate, and the pooler.

    `writes`: with `is_decoder` it has a causal mask.
    """

    positions: bool = True
    types: bool = True
    embed_norm: bool = True
    final_norm: bool = False
    bias: bool = True
    down_bias: bool = False
    gated: bool = False
    pooler: bool = True
    writes: bool = True


_PRE_NORM = _Bert(embed_norm=False, final_norm=True)
_KIN: dict[str, _Bert] = {
    "distilbert": _Bert(types=False, pooler=False, writes=False),
    "electra": _Bert(pooler=False),
    "gte": _Bert(positions=False, down_bias=True, gated=True, pooler=False, writes=False),
    "jina_embeddings_v3": _Bert(positions=False, writes=False),
    "megatron-bert": _PRE_NORM,
    "mpnet": _Bert(types=False, writes=False),
    "nomic_bert": _Bert(positions=False, bias=False, gated=True, pooler=False, writes=False),
    "roberta-prelayernorm": _Bert(final_norm=True),
    "xlm-roberta-xl": _PRE_NORM,
}


def bert_like(f: Fields) -> Architecture:
    """BERT and its kin: embeddings with a norm, layers, and a pooler, or the masked-LM head of that class."""
    return _bert(f, _KIN.get(f.model_type, _Bert()))


def _bert(f: Fields, kin: _Bert) -> Architecture:
    width, vocab = f.dim("hidden_size"), f.dim("vocab_size")
    writes = _writes(f)
    is_causal = kin.writes and f.flag("is_decoder")
    spec = EncoderSpec(
        width=width,
        depth=f.dim("num_hidden_layers"),
        heads=heads_of(f, width),
        hidden=f.dim("intermediate_size", "hidden_dim"),
        gated=kin.gated,
        qkv_bias=kin.bias,
        o_bias=kin.bias,
        mlp_bias=kin.bias and not kin.down_bias,
        down_bias=kin.down_bias,
        head_dim=f.opt_int("head_dim"),
        # What has norms before its blocks needs one behind the last.
        norms_behind=not kin.final_norm,
        causal=is_causal,
        cached=is_causal and writes,
    )
    # ELECTRA's table may be narrower than its layers.
    embed = (f.opt_int("embedding_size") if f.model_type == "electra" else None) or width
    masked = _masked(f) or _pretrains(f) or writes
    tied = masked and f.flag("tie_word_embeddings", default=True)
    before: list[Block] = [Embedding("embed", vocab, embed, tied=tied)]
    if kin.positions:
        before.append(Embedding("embed_positions", f.dim("max_position_embeddings"), embed))
    types = f.integer("type_vocab_size", default=2, minimum=0) if kin.types else 0
    if types:
        before.append(Embedding("embed_types", types, embed))
    if f.model_type == "ernie" and f.flag("use_task_id"):
        before.append(Embedding("embed_tasks", f.integer("task_type_vocab_size"), embed))
    if kin.embed_norm:
        before.append(Norm("embed_norm", embed, 2 * embed))
    if embed != width:
        before.append(Linear("project_in", width, embed, width))
    if f.model_type == "mpnet":
        before.append(Constant("position_bias", f.integer("relative_attention_num_buckets") * spec.heads))
    last = (Norm("final_norm", width, 2 * width),) if kin.final_norm else ()
    head = _bert_head(f, kin, width, _masked_head(width, embed, vocab, writes=spec.cached) if masked else None)
    stack = Stack("decoder" if spec.cached else "encoder", spec.layers("layers"), tuple(before), (*last, *head))
    spare = _spare_bias(f, vocab, masked=masked, tied=tied)
    plain = Architecture(family=f.model_type, heads=spec.heads, unused_params=spare, unread=_unread(f))
    if kin.writes and f.flag("add_cross_attention"):
        plain = attrs.evolve(plain, unread=(*plain.unread, "add_cross_attention"))
    if spec.cached:
        return attrs.evolve(plain, decoder=stack, kv_heads=spec.heads)
    return attrs.evolve(plain, encoder=stack, variant="a causal mask" if is_causal else "")


def _pretrains(f: Fields) -> bool:
    """Whether the class learns to fill gaps and which sentences follow another; ELECTRA's learns something else."""
    return "PreTraining" in class_names(f) and f.model_type != "electra"


def _bert_head(f: Fields, kin: _Bert, width: int, masked: list[Block] | None) -> list[Block]:
    """What runs behind the layers; `masked` is the head of a language model, for classes that have one."""
    pooler = Linear("pooler", width, width, width)
    # Whether a sentence follows another one.
    follows = OnTokens(blocks=(pooler, Linear("next_sentence", 2, width, 2)), fixed=1)
    if masked is not None:
        return [*masked, follows] if _pretrains(f) else masked
    if "NextSentencePrediction" in class_names(f):
        return [follows]
    if "PreTraining" in class_names(f):
        return [Linear("transform", width, width, width), Linear("discriminator", 1, width, 1)]
    if (head := _classifier(f, width, pooler)) is not None:
        return head
    return [OnTokens(blocks=(pooler,), fixed=1)] if kin.pooler else []


def _masked_head(width: int, embed: int, vocab: int, *, writes: bool = False) -> list[Block]:
    """A linear layer, a norm, and the table as the head; what `writes` needs them for the tokens with logits alone."""
    transform = (Linear("transform", embed, width, embed), Norm("transform_norm", embed, 2 * embed))
    return [*((LastTokens(blocks=transform),) if writes else transform), Head(vocab, embed, vocab)]


def esm(f: Fields) -> Architecture:
    """ESM-2: rotary positions unless they are learned, norms before the blocks; a contact head that no pass runs."""
    if f.flag("is_folding_model"):
        raise f.wrong("is_folding_model", "is true; ESMFold is not supported")
    kin = _Bert(
        positions=f.text("position_embedding_type", default="absolute") == "absolute",
        types=False,
        embed_norm=f.flag("emb_layer_norm_before"),
        final_norm=True,
        writes=False,
    )
    contact = f.dim("num_hidden_layers") * f.dim("num_attention_heads") + 1
    plain = _bert(f, kin)
    return attrs.evolve(plain, unused_params=plain.unused_params + contact)


@attrs.frozen(kw_only=True)
class RelativePositions(Block):
    """DeBERTa's scores between content and positions (arXiv 2006.03654), all of which transformers computes.

    Each of `kinds` (c2p, p2c) is a product of every token with all `rows` relative positions. `shared` ones are
    projected by the layer's own matrices of Q and K, otherwise by one of their own for each kind.
    """

    width: int
    heads: int
    head_dim: int
    rows: int
    kinds: int
    shared: bool

    @property
    def _out(self) -> int:
        return self.heads * self.head_dim * (2 if self.shared else self.kinds)

    @property
    def params(self) -> int:
        return 0 if self.shared else self._out * (self.width + 1)

    def token_ops(self, emit: Emitter, run: Pass) -> None:
        fmt = emit.format(ATTENTION, "position_qk")
        rows = self.rows if run.tokens else 0
        own = rows and not self.shared
        emit.add(
            "gemm",
            "position_qk",
            m=rows,
            n=self._out,
            k=self.width,
            dtype=fmt.compute,
            flops=2 * rows * self._out * self.width,
            weight=fmt.bytes(self._out, self.width) + emit.plain_bytes(self._out) if own else 0,
            activation=emit.plain_bytes(rows * (self.width + self._out)),
        )
        emit.add(
            "attention",
            "position_scores",
            m=run.tokens,
            n=rows,
            k=self.head_dim,
            batch=self.heads * self.kinds,
            flops=2 * run.tokens * rows * self.heads * self.head_dim * self.kinds,
            activation=emit.plain_bytes(run.tokens * self.heads * (self.head_dim + rows) * self.kinds),
        )


def deberta_v2(f: Fields) -> Architecture:
    """DeBERTa 2 and 3: scores with a table of relative positions that all layers share; maybe a convolution."""
    width, vocab, heads = f.dim("hidden_size"), f.dim("vocab_size"), f.dim("num_attention_heads")
    head_dim = f.opt_int("attention_head_size") or f.divides("hidden_size", width, "num_attention_heads", heads)
    if heads * head_dim != width:
        raise f.wrong("attention_head_size", f"= {head_dim} times {heads} heads is not hidden_size = {width}")
    more: tuple[Block, ...] = ()
    table: list[Block] = []
    table_norm = 2 * width if "layer_norm" in f.text("norm_rel_ebd", default="none").lower() else 0
    if f.flag("relative_attention"):
        span = (
            f.opt_int("position_buckets", minimum=-1)
            or f.opt_int("max_relative_positions", minimum=-1)
            or f.dim("max_position_embeddings")
        )
        kinds = f.get("pos_att_type", default=[])
        listed = kinds.lower().split("|") if isinstance(kinds, str) else f.items("pos_att_type") or []
        named = {str(kind).strip() for kind in listed}
        if named - {"c2p", "p2c", ""}:
            raise f.wrong("pos_att_type", f"is {kinds!r}; known kinds are c2p and p2c")
        shared = f.flag("share_att_key")
        more = (
            RelativePositions(
                width=width, heads=heads, head_dim=head_dim, rows=2 * span, kinds=len(named - {""}), shared=shared
            ),
        )
        table = [Constant("relative_positions", 2 * span * width + table_norm)]
    spec = EncoderSpec(
        width=width, depth=f.dim("num_hidden_layers"), heads=heads, hidden=f.dim("intermediate_size"), more=more,
        norms_behind=True,
    )  # fmt: skip
    embed = f.opt_int("embedding_size") or width
    masked = _masked(f)
    tied = masked and f.flag("tie_word_embeddings", default=True)
    before: list[Block] = [Embedding("embed", vocab, embed, tied=tied)]
    if f.flag("position_biased_input", default=True):
        before.append(Embedding("embed_positions", f.dim("max_position_embeddings"), embed))
    types = f.integer("type_vocab_size", default=0, minimum=0)
    if types:
        before.append(Embedding("embed_types", types, embed))
    if embed != width:
        before.append(Linear("project_in", width, embed))
    before += [Norm("embed_norm", width, 2 * width), *table]
    after: list[Block] = []
    kernel = f.opt_int("conv_kernel_size")
    if kernel:
        inputs = kernel * f.divides("hidden_size", width, "conv_groups", f.integer("conv_groups", default=1))
        # It follows the first layer.
        before += [Linear("conv", width, inputs, width), Norm("conv_norm", width, 2 * width)]
    if masked:
        after += _masked_head(width, embed, vocab)
    after += _classifier(f, width, Linear("pooler", width, width, width)) or []
    stack = Stack("encoder", spec.layers("layers"), tuple(before), tuple(after))
    spare = _spare_bias(f, vocab, masked=masked, tied=tied) + (0 if table else table_norm)
    return Architecture(family="deberta-v2", encoder=stack, heads=heads, unused_params=spare, unread=_unread(f))


def eurobert(f: Fields) -> Architecture:
    """Llama's layers without a causal mask."""
    dims, bias, mlp_bias = read_dims(f), f.flag("attention_bias"), f.flag("mlp_bias")
    width = dims.width
    spec = EncoderSpec(
        width=width,
        depth=dims.depth,
        heads=dims.heads,
        kv_heads=dims.kv_heads,
        head_dim=dims.head_dim,
        hidden=f.dim("intermediate_size"),
        gated=True,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=mlp_bias,
        norm="rms",
    )
    tied = _masked(f) and f.flag("tie_word_embeddings")
    head: tuple[Block, ...] = (Head(dims.vocab, width, dims.vocab if mlp_bias else 0),) if _masked(f) else ()
    head = (*head, *(_classifier(f, width, Linear("pooler", width, width, width)) or ()))
    before = (Embedding("embed", dims.vocab, width, tied=tied),)
    stack = Stack("encoder", spec.layers("layers"), before, (Norm("final_norm", width, width), *head))
    return Architecture(family="eurobert", encoder=stack, heads=dims.heads, unread=_unread(f))


def modernbert(f: Fields) -> Architecture:
    """Gated MLPs; two of three layers attend to a window of `local_attention` tokens around each token."""
    width, depth = f.dim("hidden_size"), f.dim("num_hidden_layers")
    every = f.integer("global_attn_every_n_layers", default=3)
    kinds = layer_kinds(f, depth, lambda i: "sliding_attention" if i % every else "full_attention")
    reach = f.integer("local_attention", default=128) // 2 + 1
    norm = "layer" if f.flag("norm_bias") else "rms"
    weights = norm_weights(norm, width)
    spec = EncoderSpec(
        width=width,
        depth=depth,
        heads=heads_of(f, width),
        hidden=f.dim("intermediate_size"),
        gated=True,
        qkv_bias=f.flag("attention_bias"),
        o_bias=f.flag("attention_bias"),
        mlp_bias=f.flag("mlp_bias"),
        norm=norm,
        windows=[reach if kind == "sliding_attention" else None for kind in kinds],
    )
    vocab = f.dim("vocab_size")
    masked = _masked(f)
    after: list[Block] = [Norm("final_norm", width, weights)]
    bias = width if f.flag("classifier_bias") else 0
    hidden = (Linear("transform", width, width, bias), Norm("transform_norm", width, weights))
    if masked:
        head_bias = vocab if f.flag("decoder_bias", default=True) else 0
        after += [*hidden, Head(vocab, width, head_bias)]
    after += _classifier(f, width, *hidden, of_tokens=hidden) or []
    before = (
        Embedding("embed", vocab, width, tied=masked and f.flag("tie_word_embeddings", default=True)),
        Norm("embed_norm", width, weights),
    )
    stack = Stack("encoder", spec.layers("layers"), before, tuple(after))
    # The first layer's attention has no norm of its own: the embedding's serves.
    return Architecture(family="modernbert", encoder=stack, heads=spec.heads, unused_params=-weights, unread=_unread(f))


def _text_tower(f: Fields, *, causal: bool, head: tuple[Block, ...]) -> Stack:
    """CLIP's and SigLIP's text tower; `head` runs on one token of each text."""
    width, vocab = f.dim("hidden_size"), f.dim("vocab_size")
    spec = EncoderSpec(
        width=width,
        depth=f.dim("num_hidden_layers"),
        heads=heads_of(f, width),
        hidden=f.dim("intermediate_size"),
        causal=causal,
    )
    before = (Embedding("embed", vocab, width), Embedding("embed_positions", f.dim("max_position_embeddings"), width))
    after = (Norm("final_norm", width, 2 * width), *((OnTokens(blocks=head, fixed=1),) if head else ()))
    return Stack("encoder", spec.layers("layers"), before, after)


def clip_text(f: Fields, projection: int | None = None) -> Stack:
    """CLIP's text tower, with the projection of one token where there is one."""
    head = (Linear("projection", projection, f.dim("hidden_size")),) if projection else ()
    return _text_tower(f, causal=True, head=head)


def siglip_text(f: Fields) -> Stack:
    """SigLIP's text tower, which ends in a projection of the last token."""
    width = f.dim("hidden_size")
    projected = f.integer("projection_size", default=width)
    return _text_tower(f, causal=False, head=(Linear("projection", projected, width, projected),))


def clip_text_model(f: Fields) -> Architecture:
    """CLIP's text tower alone; its projection belongs to the class with that name."""
    projection = f.integer("projection_dim") if "WithProjection" in class_names(f) else None
    return Architecture(family="clip_text_model", encoder=clip_text(f, projection), heads=f.dim("num_attention_heads"))


def siglip_text_model(f: Fields) -> Architecture:
    """SigLIP's text tower alone."""
    return Architecture(family="siglip_text_model", encoder=siglip_text(f), heads=f.dim("num_attention_heads"))


TEXT_ENCODERS: dict[str, Builder] = {
    "bert": Verified(bert_like),
    "roberta": Verified(bert_like),
    "xlm-roberta": Verified(bert_like),
    "camembert": Verified(bert_like),
    "distilbert": Verified(bert_like),
    "data2vec-text": Verified(bert_like),
    "electra": Verified(bert_like),
    "ernie": Verified(bert_like),
    "gte": Verified(bert_like),
    "jina_embeddings_v3": Verified(bert_like),
    "megatron-bert": Verified(bert_like),
    "mpnet": Verified(bert_like),
    "nomic_bert": Verified(bert_like),
    "roberta-prelayernorm": Verified(bert_like),
    "xlm-roberta-xl": Verified(bert_like),
    "esm": Verified(esm),
    "deberta-v2": Verified(deberta_v2),
    "eurobert": Verified(eurobert),
    "modernbert": Verified(modernbert),
    "clip_text_model": Verified(clip_text_model),
    "siglip_text_model": Verified(siglip_text_model),
}
