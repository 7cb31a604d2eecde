"""What transformers calls the weights of towers of images and sound (`tower_names.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from nsys_pipeline.model.blocks import Block
from nsys_pipeline.model.modules import Place, parts_of
from nsys_pipeline.model.quantization import ATTENTION, MLP

_PROJECTOR = ("projector", "merger", "deepstack")
_ROLES: Mapping[str, str] = {"qkv": ATTENTION, "o": ATTENTION, "gate_up": MLP, "up": MLP, "down": MLP}
_HEAD_NORMS = ("q_norm", "k_norm")
#: Parts of a product whose weights are one module.
_PARTS: Mapping[str, int] = {"qkv": 3, "gate_up": 2}


def is_projector(block: Block) -> bool:
    """Whether a block behind a tower's layers makes tokens of the decoder."""
    return str(getattr(block, "name", "")).startswith(_PROJECTOR)


def label_of(label: str) -> str:
    """Of the label of some layers of a stack, that of all that lie in one list: `vision.layers.window`."""
    return ".".join(label.split(".")[:2])


def tower_key(config: Mapping[str, Any], stack: str) -> str:
    """The types of a model and of its tower, which together tell the names of weights."""
    inner = config.get(f"{stack}_config")
    kind = inner.get("model_type") if isinstance(inner, Mapping) else None
    return f"{config.get('model_type', '')}/{stack}" + (f"/{kind}" if kind else "")


@attrs.frozen
class Names:
    """Weights of one part of a tower."""

    weights: tuple[str, ...]
    norms: tuple[str, ...]


@attrs.frozen
class TowerNames:
    """Whole names of a tower's weights, without `.weight`: by label of the layers, around them, of the projector."""

    layers: Mapping[str, tuple[str, Names]]
    around: Names
    projector: Names

    @property
    def all(self) -> Iterator[str]:
        """Every name, those of the first layers only."""
        for part in (self.around, self.projector):
            yield from (*part.weights, *part.norms)
        for under, part in self.layers.values():
            yield from (f"{under}.0.{one}" for one in (*part.weights, *part.norms))

    def parts(self, name: str, place: Place, *, is_norm: bool) -> tuple[tuple[str, ...], ...]:
        """Names of each part of an operation; those of all that it may be where it has none of its own."""
        if place.layer is None:
            under, found = "", self.projector if name.startswith(_PROJECTOR) else self.around
        else:
            under, found = self.layers[label_of(place.label)]
            under = f"{under}.{place.layer}."
        if is_norm:
            parts = _norm_parts(name, found.norms)
        else:
            parts = _product_parts(name, found.weights, is_in_layer=place.layer is not None)
        return tuple(tuple(under + one for one in names) for names in parts)


def _norm_parts(name: str, norms: Sequence[str]) -> Sequence[Sequence[str]]:
    heads = [[one for one in norms if word in one] for word in _HEAD_NORMS]
    if name == "qk_norm":
        return heads
    return ([one for one in norms if not any(one in names for names in heads)],)


def _product_parts(name: str, weights: Sequence[str], *, is_in_layer: bool) -> Sequence[Sequence[str]]:
    if is_in_layer and name in _ROLES:
        own = [[one for one in names if one in weights] for names in parts_of(_ROLES[name], name)]
        if all(own):
            return own
        known = {one for op, role in _ROLES.items() for names in parts_of(role, op) for one in names}
        may_be = [one for one in weights if one not in known]
    else:
        may_be = [one for one in weights if any(part.startswith(name) for part in one.split("."))]
    return (may_be or weights,) * _PARTS.get(name, 1)


def _names(table: Mapping[str, str], kind: str = "") -> Names:
    return Names(tuple(table[f"{kind}weights"].split()), tuple(table[f"{kind}norms"].split()))


@cache
def _towers() -> Mapping[str, TowerNames]:
    read = tomllib.loads((Path(__file__).parent / "tower_names.toml").read_text(encoding="utf-8"))
    return {
        kind: TowerNames(
            {one["label"]: (one["under"], _names(one)) for one in table.get("layers", ())},
            _names(table),
            _names(table, "projector_"),
        )
        for table in read["towers"]
        for kind in table["types"].split()
    }


def tower_names(config: Mapping[str, Any], stack: str) -> TowerNames | None:
    """Names of the weights of a model's tower; None for one that `tower_names.toml` lacks."""
    known = _towers()
    return known.get(tower_key(config, stack)) or known.get(f"{config.get('model_type', '')}/{stack}")
