"""Lists of modules in quantization configs, and the names that modules have in checkpoints (`modules.toml`)."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import cache, cached_property
from pathlib import Path

import attrs

from nsys_pipeline.errors import ModelError

#: Where the layers of a text decoder are in checkpoints: alone, and inside of a multimodal model.
_ALONE = ("model.layers",)
_INSIDE = ("model.language_model.layers", "language_model.model.layers")
#: Spellings of other models; a pattern that means nothing under those above is tried under these.
_OTHERS = (
    "transformer.h", "transformer.blocks", "transformer.encoder.layers", "gpt_neox.layers", "backbone.layers",
    "model.decoder.layers", "decoder.layers", "decoder.block", "layers", "language_model.layers",
    "model.text_model.layers", "text_model.model.layers", "llm.model.layers", "thinker.model.layers",
    "model.language_model.model.layers",
)  # fmt: skip
_ENCODER = (
    "model.encoder.layers", "encoder.layers", "encoder.block", "encoder.layer", "bert.encoder.layer",
    "roberta.encoder.layer", "text_model.encoder.layers",
)  # fmt: skip
#: Words in the path of a layer that is not the text model's.
_ELSEWHERE = re.compile(
    r"vis(ion|ual)|vit|image|img|audio|speech|mtp|draft|talker|code2wav|token2wav|projector|connector|merger|"
    r"resampler|aligner|vpm|apm|tts|vocoder|codec|sam_model|perceiver|nextn|eagle",
    re.IGNORECASE,
)
#: Modules that hold no matrix that the estimate counts by itself.
_NO_MATRIX = re.compile(r"norm|ln_|rotary|conv1d|sinks|bias|scale|A_log|dropout|act_fn|lm_head|embed|(^|\.)(wpe|wte)$")
#: What other versions of transformers have in the names of towers, and what they lack.
_INNER_MODEL = re.compile(r"\b(vision_tower|image_tower)\.(?!vision_model\.)")
_OUTER_MODEL = re.compile(r"^model\.")
_ANCHORED = re.compile(r"\^\w")
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)(?:\.|$)")
DECODER, ENCODER = "decoder", "encoder"


def _expand(pattern: str) -> Iterator[str]:
    """`{a,b}.c` → a.c, b.c; `{e}` stays."""
    pieces = re.split(r"(\{[^{}]*,[^{}]*\})", pattern)
    choices = [piece[1:-1].split(",") if piece.startswith("{") and "," in piece else [piece] for piece in pieces]
    return ("".join(parts) for parts in itertools.product(*choices))


@cache
def module_names() -> Mapping[str, Mapping[str, tuple[tuple[str, ...], ...]]]:
    """Role → operation → parts → names below the layer, from `modules.toml`."""
    path = Path(__file__).parent / "modules.toml"
    return {
        role: {
            op: tuple(tuple(name for word in part.split() for name in _expand(word)) for part in parts)
            for op, parts in ops.items()
        }
        for role, ops in tomllib.loads(path.read_text(encoding="utf-8")).items()
    }


@attrs.frozen
class Weights:
    """What transformers calls the weights of a model type: under what its layers lie, and names of `modules.toml`."""

    layers: str
    names: frozenset[str]


_NO_WEIGHTS = Weights("", frozenset())


@cache
def _weights() -> Mapping[str, Weights]:
    path = Path(__file__).parent / "weight_names.toml"
    return {
        kind: Weights(group["layers"], frozenset(group["weights"].split()))
        for group in tomllib.loads(path.read_text(encoding="utf-8"))["names"]
        for kind in group["types"].split()
    }


def weights_of(model_type: str) -> Weights:
    """Names of the weights of `model_type`; none for a type that `weight_names.toml` lacks."""
    return _weights().get(model_type, _NO_WEIGHTS)


@cache
def parts_of(role: str, op: str) -> tuple[tuple[str, ...], ...]:
    """Names of the parts of an operation; one that the table lacks goes by its own name in the usual places."""
    known = module_names().get(role, {}).get(op)
    if known is not None:
        return known
    container = {"attention": "self_attn.", "mlp": "mlp.", "expert": "mlp.experts."}.get(role, "")
    return ((f"{container}{op}", op),)


@cache
def _runs(name: str) -> frozenset[str]:
    """Every run of whole components of a dotted name."""
    parts = name.split(".")
    return frozenset(
        ".".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1)
    )


@attrs.frozen
class Place:
    """Where a module is: the stack (decoder, encoder), the number of its layer, None outside of all layers.

    `label`: which layers of the stack these are. `is_whole`: names are whole ones, as of towers.
    """

    stack: str
    layer: int | None
    label: str = ""
    is_whole: bool = False


@attrs.frozen
class Stacks:
    """What a model consists of: how many layers, an encoder beside them, and whether it is inside of a larger one."""

    depth: int = 1
    names: tuple[str, ...] = (DECODER,)
    is_nested: bool = False

    def named(self, prefix: str) -> str:
        """The stack that the path before a layer's number means."""
        own = ENCODER if "encoder" in prefix and "decoder" not in prefix else DECODER
        return own if own in self.names else self.names[0]


@attrs.define(eq=False)
class Patterns:
    """Entries of one list of modules, each the name of a module, or of what it is in, a glob, or a regular expression.

    Names count under any prefix (`language_model.model.layers.3.mlp` is layer 3's `mlp`), unless the prefix is that of
    another part of the model, such as a vision tower. Regular expressions (`re:` before them) match from the start of
    the whole name; where `searches`, anywhere in it. `suffix` ends the names that expressions see (`.weight`).
    `weights`: the names that expressions are tried on first, where they are known.
    """

    entries: tuple[str, ...]
    stacks: Stacks
    searches: bool = False
    suffix: str = ""
    weights: Weights = _NO_WEIGHTS
    #: Whole names outside of the stacks of text; an expression that means one of them is about names of transformers.
    elsewhere: tuple[str, ...] = ()
    _by_layer: dict[tuple[str, int], set[str]] = attrs.field(init=False, factory=dict)
    _anywhere: set[str] = attrs.field(init=False, factory=set)
    _expressions: list[_Expression] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        for entry in self.entries:
            if entry.startswith("re:"):
                self._add(entry.removeprefix("re:"))
            elif "*" in entry or "?" in entry:
                self._add("|".join(translate(glob) for glob in (entry, f"{entry}.*", f"*.{entry}")))
            else:
                self._add_name(entry)

    def _add(self, pattern: str) -> None:
        self._expressions.append(
            _Expression(pattern, self.stacks, self.searches, self.suffix, self.weights, self.elsewhere)
        )

    def _add_name(self, entry: str) -> None:
        name = entry.strip(". ").removesuffix(".weight")
        match = _LAYER.search(name)
        if match is None:
            self._anywhere.add(name)
            return
        before, after = name[: match.start()], name[match.end() :]
        if not _ELSEWHERE.search(before):
            self._by_layer.setdefault((self.stacks.named(before), int(match[1])), set()).add(after)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def match(self, names: Sequence[str], place: Place) -> bool:
        """Whether an entry means the module that goes by any of `names` (below the layer), or what it is in."""
        in_layer = set() if place.layer is None else self._by_layer.get((place.stack, place.layer), set())
        if "" in in_layer or (self._anywhere and self._means_stack(place)):
            return True
        spelled = in_layer | self._anywhere
        if spelled and any(not _runs(name).isdisjoint(spelled) for name in names):
            return True
        return any(expression.match(names, place) for expression in self._expressions)

    def match_whole(self, names: Sequence[str]) -> bool:
        """Whether an expression means all weights of these whole names. Raises ModelError if it means some of them."""
        found = {any(one.means_whole(name) for one in self._expressions) for name in names}
        if len(found) > 1:
            raise ModelError(
                f"{self.entries[0].removeprefix('re:')!r} means a part of weights that are counted as one: "
                f"{', '.join(names[:3])}, …",
                hint="name all of the tower's weights, or none",
            )
        return found == {True}

    def _means_stack(self, place: Place) -> bool:
        """Whether an entry names all layers, such as `model.layers` or `language_model`."""
        if place.layer is None:
            return False
        prefixes = _ENCODER if place.stack == ENCODER else (*_ALONE, *_INSIDE, *_OTHERS)
        return any(not _runs(prefix).isdisjoint(self._anywhere - {"model"}) for prefix in prefixes)


@attrs.define(eq=False)
class _Expression:
    """One regular expression over whole names.

    Algorithm: an expression is tried on the names that the model type has, if those are known. One that means nothing
    there is tried on the first name of each part, under the prefix that layers usually have, and one that means nothing
    there either on all names and prefixes: `.*up_proj` is `up_proj`, not `gate_up_proj` too.
    """

    pattern: str
    stacks: Stacks
    searches: bool
    suffix: str
    weights: Weights
    elsewhere: tuple[str, ...]
    _regex: re.Pattern[str] = attrs.field(init=False)
    _found: dict[str, bool] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        try:
            self._regex = re.compile(self.pattern)
        except re.error as error:
            raise ModelError(f"a list of modules holds {self.pattern!r}, which is no expression: {error}") from error

    @property
    def depends_on_layer(self) -> bool:
        """Whether the expression looks at numbers at all; most do not, and mean the same in each layer."""
        return any(character.isdigit() for character in self.pattern) or "\\d" in self.pattern

    def match(self, names: Sequence[str], place: Place) -> bool:
        layer = place.layer if place.layer is None or self.depends_on_layer else 0
        if self.is_own:
            names = [name for name in names if name in self.weights.names] or names[:1]
        elif self.is_elsewhere and self.weights.names:
            return False
        elif self.is_usual:
            names = names[:1]
        if layer is None:
            return any(self._test(name) for name in names)
        prefixes = _ENCODER if place.stack == ENCODER else self._prefixes
        return any(self._means(name, f"{prefix}.{layer}.") for name in names for prefix in prefixes)

    def _means(self, name: str, prefix: str) -> bool:
        key = prefix + name
        if key not in self._found:
            self._found[key] = self._test(key)
        return self._found[key]

    def _test(self, name: str) -> bool:
        name += self.suffix
        return bool(self._regex.search(name) if self.searches else self._regex.match(name))

    def means_whole(self, name: str) -> bool:
        """Whether the expression means a whole name, as any version of transformers spells it."""
        names = {name, _INNER_MODEL.sub(r"\1.vision_model.", name)}
        if _ANCHORED.search(self.pattern):
            names |= {_OUTER_MODEL.sub("", one) for one in names}
        return any(map(self._test, names))

    @cached_property
    def is_elsewhere(self) -> bool:
        """Whether it means any name outside of the stacks of text."""
        return any(map(self.means_whole, self.elsewhere))

    @cached_property
    def is_own(self) -> bool:
        """Whether it means any weight by the name that the model type has for it."""
        below, outside = self.weights.names - _outside_names(), self.weights.names & _outside_names()
        return self._means_any((self.weights.layers,), below) or any(self._test(name) for name in outside)

    @cached_property
    def is_usual(self) -> bool:
        """Whether it means any module by its first name under the usual prefix."""
        return self._means_any((*self._usual, *(_ENCODER if ENCODER in self.stacks.names else ())), _first_names())

    def _means_any(self, prefixes: Sequence[str], names: Iterable[str]) -> bool:
        layers = range(self.stacks.depth) if self.depends_on_layer else (0,)
        return any(self._test(f"{prefix}.{layer}.{name}") for name in names for prefix in prefixes for layer in layers)

    @property
    def _usual(self) -> tuple[str, ...]:
        return _INSIDE if self.stacks.is_nested else _ALONE

    @property
    def _prefixes(self) -> tuple[str, ...]:
        if self.is_own:
            return (self.weights.layers,)
        return self._usual if self.is_usual else (*_ALONE, *_INSIDE, *_OTHERS)


@cache
def _outside_names() -> frozenset[str]:
    """Names of what stands outside of the layers."""
    tables = [parts for role in ("embedding", "lm_head") for parts in module_names()[role].values()]
    return frozenset(name for parts in tables for names in parts for name in names)


@cache
def _first_names() -> tuple[str, ...]:
    return tuple(
        names[0].replace("{e}", "0")
        for role in ("attention", "mlp", "expert", "router", "norm")
        for parts in module_names()[role].values()
        for names in parts
    )


def unknown_entries(patterns: Patterns) -> list[str]:
    """Entries that mean no module that is known, so that they may name weights under a name that is not read."""
    return [entry for entry in patterns.entries if not _is_known(entry, patterns)]


def _is_known(entry: str, patterns: Patterns) -> bool:
    if _ELSEWHERE.search(entry) or _NO_MATRIX.search(entry):
        return True
    stacks = patterns.stacks
    numbered = _LAYER.search(entry)
    # Layers behind the last one predict further tokens and are no part of a pass.
    if numbered and int(numbered[1]) >= stacks.depth:
        return True
    if not entry.startswith("re:") and "*" not in entry and "?" not in entry:
        name = re.sub(r"\bexperts\.\d+", "experts.{e}", entry.strip(". ").removesuffix(".weight"))
        return not (after := name[numbered.end() :] if numbered else name) or after in _all_runs()
    one = attrs.evolve(patterns, entries=(entry,))
    names = [name.replace("{e}", "0") for name in _all_names()]
    return any(
        one.match((name,), Place(stack, layer))
        for stack in stacks.names
        for layer in range(stacks.depth)
        for name in names
    )


@cache
def _all_names() -> tuple[str, ...]:
    return tuple(name for ops in module_names().values() for parts in ops.values() for part in parts for name in part)


@cache
def _all_runs() -> frozenset[str]:
    """Everything that a name may be written as: whole modules, what they are in, the stacks of layers."""
    stacks = (*_ALONE, *_INSIDE, *_OTHERS, *_ENCODER)
    return frozenset(run for name in (*_all_names(), *stacks) for run in _runs(name))
