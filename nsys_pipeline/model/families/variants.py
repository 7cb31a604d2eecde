"""What a config says of any decoder beside its sizes: no causal mask, another head, a draft of EAGLE-3.

And of encoder-decoders: the encoder alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from nsys_pipeline.model.architecture import Architecture, Layers, Stack
from nsys_pipeline.model.blocks import Attention, Block, Embedding, Head, LatentAttention, Linear, Norm
from nsys_pipeline.model.families.common import label_count
from nsys_pipeline.model.fields import Fields, text_config_name

#: Model types in which `use_bidirectional_attention` speaks of all tokens; elsewhere it is about those of images.
_FLAG_OF_ALL = ("gemma3_text", "gemma4_text", "gemma4_unified_text", "gemma3", "gemma4", "gemma4_unified")
_SCORES = re.compile(r"For(?:Sequence|Token)Classification$|ForQuestionAnswering$|For(?:Process)?RewardModel$")
_OF_TOKENS = re.compile(r"ForTokenClassification$|ForQuestionAnswering$|ForProcessRewardModel$")
#: What a checkpoint of the layers alone is called. Remote code calls whole models so, too: see `_has_head`.
_BARE = re.compile(r"(?<!LMHead)(?<!DoubleHeads)(?<!Chat)Model$")
#: Entries of `auto_map` for models that generate text.
_GENERATING = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForImageTextToText", "AutoModelForVision2Seq")


def as_configured(f: Fields, architecture: Architecture) -> Architecture:
    """The architecture with what the config changes of it; the same one where it changes nothing.

    `is_causal` is that of transformers since 5.2, `architectures` names the class that a checkpoint was saved from.
    """
    if architecture.decoder is None:
        return architecture
    if architecture.encoder is not None:
        return _one_of_two(f, architecture)
    text = _text_fields(f)
    changed = _with_head(text, f, _as_draft(text, f, architecture))
    return _without_mask(text, f, changed)


def _text_fields(f: Fields) -> Fields:
    name = text_config_name(f.data)
    return f if name is None else f.sub(name, model_type=f.model_type)


def _decoder(model: Architecture) -> Stack:
    assert model.decoder is not None  # noqa: S101 - as_configured has looked
    return model.decoder


def _head(stack: Stack) -> Head | None:
    return next((block for block in stack.after if isinstance(block, Head)), None)


def _untied(stack: Stack) -> tuple[Block, ...]:
    """What comes before the layers, with a table that serves no head."""
    return tuple(attrs.evolve(one, tied=False) if isinstance(one, Embedding) else one for one in stack.before)


# -- masks -------------------------------------------------------------------------------------------------------------


def _without_mask(text: Fields, f: Fields, model: Architecture) -> Architecture:
    """Every token sees those after it, too. What has no images is an encoder then: nothing is generated with it."""
    flag = text.get("use_bidirectional_attention") if text.model_type in _FLAG_OF_ALL else None
    is_flagged = flag is True or flag == "all"
    if not is_flagged and text.get("is_causal") is not False and f.get("is_causal") is not False:
        return model
    stack = _decoder(model)
    halved, inclusive = is_flagged, not is_flagged or flag == "all"
    layers = []
    for group in stack.layers:
        blocks = tuple(_seeing_all(block, halved=halved, inclusive=inclusive) for block in group.blocks)
        if any(block is None for block in blocks):
            return _unread(model, "is_causal" if not is_flagged else "use_bidirectional_attention")
        layers.append(attrs.evolve(group, blocks=tuple(block for block in blocks if block is not None)))
    stack = attrs.evolve(stack, layers=tuple(layers))
    if model.vision is not None or model.text_only:
        return attrs.evolve(model, decoder=stack, variant=_and(model, "no causal mask"))
    return attrs.evolve(model, decoder=None, encoder=stack, variant=_and(model, "no causal mask"))


def _seeing_all(block: Block, *, halved: bool, inclusive: bool) -> Block | None:
    """The block without a causal mask, None for attention that has none to take away.

    A window then reaches as far on either side. Gemma halves it first, and Gemma 3 does not count its last key.
    """
    if type(block) is Attention:
        window = block.window
        if window is not None:
            window = (window // 2 + 1 if halved else window) + inclusive
        return attrs.evolve(block, causal=False, cached=False, window=window)
    if type(block) is LatentAttention:
        return attrs.evolve(block, causal=False)
    return None if isinstance(block, Attention | LatentAttention) else block


# -- heads -------------------------------------------------------------------------------------------------------------


def _architectures(f: Fields) -> list[str]:
    value = f.get("architectures")
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _has_head(f: Fields) -> bool:
    """Whether an entry of `auto_map` says that a model of the checkpoint's own code generates text."""
    stated = f.data.get("auto_map")
    return isinstance(stated, Mapping) and any(name in stated for name in _GENERATING)


def _with_head(text: Fields, f: Fields, model: Architecture) -> Architecture:
    """The head of the class that the checkpoint was saved from: scores of each label, or none."""
    name = next(iter(_architectures(f)), "")
    if name.endswith(("DoubleHeadsModel", "ForMultipleChoice")):
        # Their LM head is counted, the score of a choice is not.
        return _unread(model, "architectures")
    stack = _decoder(model)
    head = _head(stack)
    if head is None or not (_SCORES.search(name) or (_BARE.search(name) and not _has_head(f))):
        return model
    scores: tuple[Block, ...] = ()
    if _SCORES.search(name):
        labels = text.opt_int("num_labels") or f.opt_int("num_labels") or label_count(f)
        is_reward = name.endswith("RewardModel")
        if _OF_TOKENS.search(name):
            scores = (Linear("score", labels, head.width, labels),)
        else:
            scores = (Head(labels, head.width, labels if is_reward else 0, name="score"),)
        if is_reward:
            # Qwen's: a layer as wide as the model before it.
            scores = (Linear("score_in", head.width, head.width, head.width), *scores)
    kept = tuple(block for block in stack.after if block is not head)
    stack = attrs.evolve(stack, before=_untied(stack), after=(*kept, *scores))
    return attrs.evolve(model, decoder=stack, variant=_and(model, "a score head" if scores else "no LM head"))


# -- encoder-decoders --------------------------------------------------------------------------------------------------


def _one_of_two(f: Fields, model: Architecture) -> Architecture:
    """The encoder alone, if the checkpoint's class is that of one; classes that run both otherwise are said."""
    name = next(iter(_architectures(f)), "")
    is_tagger = name.endswith("ForTokenClassification")
    if not name.endswith("EncoderModel") and not is_tagger:
        sorts = _SCORES.search(name) or name.endswith("ForAudioClassification")
        return _unread(model, "architectures") if sorts else model
    stack, decoder = model.encoder, _decoder(model)
    head = _head(decoder)
    if stack is None or head is None or model.encoder_tokens:
        return _unread(model, "architectures")
    labels = label_count(f)
    tags = (Linear("classifier", labels, head.width, labels),) if is_tagger else ()
    alone = attrs.evolve(stack, before=_untied(stack), after=(*stack.after, *tags))
    return attrs.evolve(model, encoder=alone, decoder=None, kv_heads=0, unused_params=0, variant="the encoder alone")


# -- drafts ------------------------------------------------------------------------------------------------------------


def _as_draft(text: Fields, f: Fields, model: Architecture) -> Architecture:
    """A draft of EAGLE-3 (arXiv 2503.01840): its layer sees the token beside what three layers of the model made of it.

    Queries, keys and values are made from twice the width, and the head has a vocabulary of its own.
    """
    if not any("eagle3" in name.lower() for name in _architectures(f)):
        return model
    vocab = text.opt_int("draft_vocab_size")
    stack = _decoder(model)
    head = _head(stack)
    if vocab is None or head is None or stack.depth != 1 or len(stack.layers) != 1 or not _is_plain(stack.layers[0]):
        return _unread(model, "architectures")
    width = head.width
    (group,) = stack.layers
    blocks = tuple(
        attrs.evolve(block, width=2 * width, out_width=width) if isinstance(block, Attention) else block
        for block in group.blocks
    )
    norm = Norm("hidden_norm", width, width)
    target = text.opt_int("target_hidden_size") or width
    after = tuple(attrs.evolve(head, vocab=vocab) if block is head else block for block in stack.after)
    stack = Stack(
        stack.name,
        (attrs.evolve(group, blocks=(norm, *blocks)),),
        (*_untied(stack), Linear("fc", width, 3 * target)),
        after,
    )
    return attrs.evolve(model, decoder=stack, variant="a draft model of EAGLE-3")


def _is_plain(group: Layers) -> bool:
    return sum(type(block) is Attention for block in group.blocks) == 1


def _and(model: Architecture, variant: str) -> str:
    return f"{model.variant}, {variant}" if model.variant else variant


def _unread(model: Architecture, name: str) -> Architecture:
    return attrs.evolve(model, unread=(*model.unread, name))
