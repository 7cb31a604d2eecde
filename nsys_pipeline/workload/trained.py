"""Which weights of a model training updates, for the run mark. Standard library only."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nsys_pipeline.workload.caches import has_gradients

#: What wrappers put into the names of weights.
_WRAPPERS = re.compile(
    r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|base_layer|modules_to_save\.[^.]+"
    r"|ln_tuning_layers\.[^.]+|original_module)\."
)
#: By what names a forward is given embeddings in the place of tokens.
_EMBEDDINGS = ("inputs_embeds", "decoder_inputs_embeds")
#: What is trained beside a frozen weight, and has no product of its own: biases, scales (IA3), rows of a table
#: (trainable tokens), and adapters of a table, whose product is tiny.
_AT = re.compile(
    r"\.(?:bias|ia3_l\.[^.]+|(?:token_adapter\.)?trainable_tokens_delta\.[^.]+"
    r"|lora_embedding_[AB]\.[^.]+)$"
)
#: Weights of an adapter, as PEFT names them: of both products, and of the first alone.
_ADAPTER = re.compile(r"\.lora_\w+\b")
_FIRST_PRODUCT = re.compile(r"^(?P<module>.*)\.lora_A\.")
_LAYER = re.compile(r"^(?P<before>.*?)\.(?P<layer>\d+)\.(?P<rest>.*)$")
#: Parts beside the text decoder, whose layers are numbered and named alike.
_BESIDE = r"vis(?:ion|ual)|image|audio|speech|tower|projector|connector|merger|aligner"
#: Models of two stacks, the names of whose weights the estimate knows.
_TWO_STACKS = ("whisper",)
#: Models in whose backward the estimate does not know where gradients begin, or what has adapters.
_UNKNOWN = ("axk2", "gemma3n", "gemma3n_text", "hrm_text", "jetmoe", "modernbert-decoder", "recurrent_gemma")
#: What is run without gradients first, however many weights are trained.
_PARTLY_RUN = ("hrm_text",)
#: Of DeBERTa, what is below all layers, and what its relative positions share with the tokens.
_BELOW = re.compile(r"embeddings\b|\bencoder\.LayerNorm\b")
_SHARED = re.compile(r"\.(?:query|key)_proj\.")
#: Experts that are modules of their own, by what holds all of a layer in one tensor.
_EXPERTS = (
    (re.compile(r"\bexperts\.\d+\.(?:gate_proj|up_proj|gate_up_proj|w1|w3)\b"), "experts.gate_up_proj"),
    (re.compile(r"\bexperts\.\d+\.(?:down_proj|w2)\b"), "experts.down_proj"),
)


def named_weights(model: Any) -> Iterator[tuple[str, Any]]:
    """The weights of `model` by name; those of a copy that `torch.nn.DataParallel` makes are no parameters."""
    copied = False
    for prefix, module in model.named_modules() if getattr(model, "_is_replica", False) else ():
        for name, weight in getattr(module, "_former_parameters", {}).items():
            copied = True
            yield (f"{prefix}.{name}" if prefix else name), weight
    if not copied:
        yield from model.named_parameters()


def trained_fields(model: Any) -> dict[str, Any]:
    """What the run mark says of `model`'s frozen weights: nothing if all are trained, or none, or if nobody can tell.

    `train_only`: an expression that finds the names of those that are updated. `lora_rank`, `lora_on`: the rank of its
    adapters, and an expression for what they stand beside; `train_only` is then about what is trained with them.
    `trained_at`: an expression for frozen weights at whose output gradients begin, as beside a bias.
    `trained_unknown`: some weights are frozen, and the estimate does not know what that leaves of the backward.
    """
    named = [(_WRAPPERS.sub("", name), parameter) for name, parameter in named_weights(model)]
    frozen = [name for name, parameter in named if not parameter.requires_grad and name.endswith("weight")]
    trained = {name: parameter for name, parameter in named if parameter.requires_grad}
    kind = getattr(model.config, "model_type", None)
    if trained and kind in _PARTLY_RUN and model.training:
        return {"trained_unknown": True}
    if not frozen or not trained or any("_flat_param" in name for name, _ in named):
        # Weights that are sharded as one have lost their names.
        return {}
    if kind in _UNKNOWN or (kind == "deberta-v2" and _is_above_trained(trained, frozen)):
        return {"trained_unknown": True}
    has_two_stacks = getattr(model.config, "is_encoder_decoder", False)
    if has_two_stacks and kind not in _TWO_STACKS:
        # Tables of positions that are computed are never trained.
        return {"trained_unknown": True} if any("position" not in name for name in frozen) else {}
    # What tells the parts of the model apart.
    beside = "." if has_two_stacks else _BESIDE if any(re.search(_BESIDE, name) for name, _ in named) else ""
    at = sorted({_AT.sub("", name) for name in trained if _AT.search(name)} - {_module(name) for name in trained})
    starts = {"trained_at": _expression(at, beside=beside)} if at else {}
    adapters = {name: parameter for name, parameter in trained.items() if _ADAPTER.search(name)}
    weights = list(_weights(name for name in trained if name not in adapters))
    only = {"train_only": _expression(weights, beside=beside)} if weights else {}
    # Without a place for them, adapters are all there is.
    return starts | (_adapters(adapters, beside=beside) | only if adapters else only)


def _is_above_trained(trained: Iterable[str], frozen: Iterable[str]) -> bool:
    """Whether gradients go through a layer with frozen queries or keys, which positions share."""
    numbers = [
        int(found["layer"]) if (found := _LAYER.match(name)) else -1 if _BELOW.search(name) else None
        for name in trained
    ]
    lowest = min((number for number in numbers if number is not None), default=None)
    layers = [int(found["layer"]) for name in frozen if _SHARED.search(name) and (found := _LAYER.match(name))]
    return lowest is not None and max(layers, default=-2) >= lowest


def _last_name(name: str) -> str:
    """What tells a weight outside of the layers; norms of embeddings and of heads may have one name."""
    parent, _, last = name.rpartition(".")
    parent = parent.rpartition(".")[2]
    return f"{parent}.{last}" if last == "LayerNorm" or (last == "norm" and parent == "embeddings") else last


def _module(name: str) -> str:
    """The module that a weight, or the first product of an adapter, is in or beside; the name itself of others."""
    found = _FIRST_PRODUCT.match(name)
    return found["module"] if found else name.removesuffix(".weight")


def trained_inputs(model: Any, arguments: Mapping[str, Any], cache: Any) -> dict[str, Any]:
    """What the mark of a forward of training says of gradients that its inputs have, whatever weights are trained.

    `grads`: the embeddings that it is given (prompt tuning), or that a hook gives gradients to, or keys and values
    (prefix tuning). `frozen`: none of `model`'s weights is trained.
    """
    embeddings = next((arguments[name] for name in _EMBEDDINGS if arguments.get(name) is not None), None)
    is_hooked = bool(getattr(model, "_require_grads_hook", None) or getattr(model, "_require_grads_hooks", None))
    if is_hooked or getattr(embeddings, "requires_grad", False):
        source = "embeddings"
    elif has_gradients(cache):
        source = "cache"
    else:
        return {}
    return {"grads": source, "frozen": not any(weight.requires_grad for _, weight in named_weights(model))}


def count_adapters(model: Any) -> dict[str, int]:
    """`adapters`: how many layers of `model` run LoRA adapters beside their own product; nothing if none does.

    Those that are merged into the weights run no product of their own.
    """
    found = sum(
        bool(getattr(module, "lora_A", None)) and not getattr(module, "merged", False) for module in model.modules()
    )
    return {"adapters": found} if found else {}


def _weights(names: Iterable[str]) -> Iterator[str]:
    """Names of weights as the estimate has them; those of biases are left out."""
    for name in names:
        for pattern, replacement in _EXPERTS:
            name = pattern.sub(replacement, name)  # noqa: PLW2901
        if not (name.endswith("bias") or _AT.search(name)):
            yield name.removesuffix(".weight")


def _adapters(adapters: Mapping[str, Any], *, beside: str) -> dict[str, Any]:
    """Rank and place of adapters: the rank that most of them have, and as `lora_ranks` the others with their places.

    Those on the parameters of a layer's experts (PEFT's `target_parameters`) have the ranks of all experts in one.
    """
    ranks: Counter[int] = Counter()
    modules = []
    by_rank: dict[int, list[str]] = defaultdict(list)
    for name, parameter in adapters.items():
        found = _FIRST_PRODUCT.match(name)
        if found:
            modules.append(found["module"])
            is_of_experts = found["module"].endswith(".experts")
            ranks[int(parameter.shape[0])] += not is_of_experts
            if not is_of_experts:
                by_rank[int(parameter.shape[0])].append(found["module"])
    if not ranks:
        return {}
    usual = ranks.most_common(1)[0][0]
    others = {rank: _expression(names, beside=beside) for rank, names in sorted(by_rank.items()) if rank != usual}
    placed: dict[str, Any] = {"lora_rank": usual, "lora_on": _expression(modules, beside=beside)}
    # Keys as JSON has them.
    return placed | ({"lora_ranks": {str(rank): place for rank, place in others.items()}} if others else {})


def _expression(names: Iterable[str], *, beside: str) -> str:
    """An expression that finds `names` and no others, by number of the layer and name within it.

    `beside`: an expression for the parts of the model that are told by their paths, as layers of several have the same
    numbers and names; empty if there are none.
    """
    own_path = re.compile(beside or "(?!)")
    layers: dict[tuple[str, str], set[int]] = defaultdict(set)
    alone = set()
    for name in names:
        found = _LAYER.match(name)
        if found:
            # Under what the decoder's layers lie depends on the program; those of a tower must not mean them.
            before = found["before"] if own_path.search(found["before"]) else ""
            layers[before, found["rest"]].add(int(found["layer"]))
        else:
            alone.add(name if own_path.search(name) else _last_name(name))
    # One alternative for all modules of the same layers: a model of a hundred layers is a line.
    together: dict[tuple[str, tuple[int, ...]], list[str]] = defaultdict(list)
    for (before, rest), numbers in layers.items():
        together[before, tuple(sorted(numbers))].append(re.escape(rest))
    own: list[str] = []
    towers: list[str] = []
    for (before, of_layers), rests in together.items():
        part = rf"{re.escape(before)}\.(?:{'|'.join(map(str, of_layers))})\.(?:{'|'.join(sorted(rests))})"
        (towers if before else own).append(part)
    # No number of a layer before them.
    for name in sorted(alone):
        (towers if own_path.search(name) else own).append(rf"^(?:\D*\.)?{re.escape(name)}")
    if beside and own:
        own = [
            rf"^(?!.*(?:{beside}))(?:{'|'.join(one.removeprefix('^') if one[0] == '^' else '.*' + one for one in own)})"
        ]
    return rf"(?:{'|'.join(towers + own)})\.weight$"
