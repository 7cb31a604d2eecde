"""Read a config dict so that whatever is missing or impossible is named together with the model type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nsys_pipeline.errors import ModelError


@cache
def _all_defaults() -> dict[str, Any]:
    path = Path(__file__).parent / "defaults.json"
    types: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["types"]
    return types


def class_defaults(model_type: str) -> Mapping[str, Any]:
    """``fields`` (name → default) and ``aliases`` of transformers' config class for a model type; {} if not known."""
    found: Mapping[str, Any] = _all_defaults().get(model_type, {})
    return found


#: Sub-configs that a multimodal model keeps its language model's in.
TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
_ABSENT = object()
# Sizes beyond these are errors of whoever wrote the config, and layers are built one by one: a broken config must not
# fill the memory with them. The largest models have 10^12 parameters and 200 layers.
_MOST, _MOST_LAYERS = 10**12, 10_000


class MissingFieldError(ModelError):
    """A config lacks a field. transformers may have a default for it; here nothing is guessed."""


def text_config_name(config: Mapping[str, Any]) -> str | None:
    """The name of the first sub-config of a language model; None where the config is that of one itself."""
    return next((name for name in TEXT_CONFIGS if isinstance(config.get(name), Mapping)), None)


class Fields:
    """A view of one (sub-)config of a Hugging Face `config.json`.

    Lookup order of a field: the config under any name the field goes by, then the default of transformers' config class
    for this model type (checkpoints leave out what equals it, sub-configs nearly everything). `dim` alone refuses the
    class default in a top-level config: the default would be the size of some other model. An explicit null is a value
    and stays None for the ``opt_*`` getters. Whatever is missing or impossible raises ModelError.
    """

    def __init__(
        self, data: Mapping[str, Any], model_type: str, where: str = "", *, read: set[str] | None = None
    ) -> None:
        self.data = data
        #: Paths of fields that were asked for, whether they are there or not; views of one config share it.
        self.read: set[str] = set() if read is None else read
        self.model_type = model_type
        self._where = where
        known = class_defaults(model_type)
        self._defaults: Mapping[str, Any] = known.get("fields", {})
        self._aliases: Mapping[str, str] = known.get("aliases", {})

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def _names(self, names: tuple[str, ...]) -> list[str]:
        """All names of a field: those given, and what transformers' attribute map calls them."""
        found = list(names)
        for name in names:
            if name in self._aliases:
                found.append(self._aliases[name])
            found += [key for key, value in self._aliases.items() if value == name]
        self.read.update(self._path(name) for name in found)
        return found

    def _lookup(self, names: tuple[str, ...], *, class_default: bool = True) -> Any:
        names_ = self._names(names)
        for source in (self.data, self._defaults if class_default else {}):
            present = [source[name] for name in names_ if name in source]
            for value in present:
                if value is not None:
                    return value
            if present:
                return None
        return _ABSENT

    def has(self, *names: str) -> bool:
        """Whether the config itself holds a value that is not null under any of the names."""
        return any(self.data.get(name) is not None for name in self._names(names))

    def get(self, *names: str, default: Any = None) -> Any:
        """The field's value; `default` where it is absent or null."""
        value = self._lookup(names)
        return default if value is _ABSENT or value is None else value

    def wrong(self, name: str, why: str) -> ModelError:
        """An error about the field `name`."""
        return ModelError(f"config of model type `{self.model_type}`: `{self._path(name)}` {why}")

    def missing(self, name: str) -> MissingFieldError:
        """The error for an absent field."""
        return MissingFieldError(
            f"config of model type `{self.model_type}` has no `{self._path(name)}`",
            hint="pass the complete config.json of the checkpoint",
        )

    def checked(self, name: str, value: Any, minimum: int = 1) -> int:
        """`value` as an integer of at least `minimum`; ModelError names the field `name` otherwise."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, f"is {value!r}, not an integer")
        if value < minimum:
            raise self.wrong(name, f"is {value}; it must be at least {minimum}")
        counted = any(word in name for word in ("layer", "depth", "expert"))
        # `shared_expert_intermediate_size` and `vocab_size_per_layer_input` are sizes.
        limit = _MOST_LAYERS if counted and not any(word in name for word in ("size", "dim")) else _MOST
        if value > limit:
            raise self.wrong(name, f"is {str(value)[:30]}, far above any model's")
        return value

    def dim(self, *names: str, minimum: int = 1) -> int:
        """A size that the config must state itself, unless it is a sub-config."""
        value = self._lookup(names, class_default=bool(self._where))
        if value is _ABSENT or value is None:
            raise self.missing(names[0])
        return self.checked(names[0], value, minimum)

    def agreed_dim(self, *names: str) -> int:
        """`dim`, of which the config may not give two values under two names: nothing says which one counts."""
        given = [(name, self.data[name]) for name in self._names(names) if self.data.get(name) is not None]
        for name, value in given:
            if value != given[0][1]:
                raise self.wrong(given[0][0], f"is {given[0][1]!r}, but `{self._path(name)}` is {value!r}")
        return self.dim(*names)

    def integer(self, *names: str, default: int | None = None, minimum: int = 1) -> int:
        """An integer of at least `minimum`; `default` where it is absent or null and the class has none either."""
        value = self.get(*names, default=default)
        if value is None:
            raise self.missing(names[0])
        return self.checked(names[0], value, minimum)

    def opt_int(self, *names: str, minimum: int = 0) -> int | None:
        """A positive integer, or None where the field is absent, null or zero: all of them mean 'off'.

        `minimum`: -1 if that means 'off', too.
        """
        value = self.get(*names)
        if value is None or value is False:
            return None
        value = self.checked(names[0], value, minimum)
        return value if value > 0 else None

    def number(self, *names: str, default: float | None = None) -> float:
        """A number."""
        value = self.get(*names, default=default)
        if value is None:
            raise self.missing(names[0])
        if isinstance(value, bool) or not isinstance(value, int | float) or not -_MOST < value < _MOST:
            raise self.wrong(names[0], f"is {value!r}, not a number")
        return value

    def ratio(self, *names: str, default: float | None = None) -> float:
        """A number above zero."""
        value = self.number(*names, default=default)
        if value <= 0:
            raise self.wrong(names[0], f"is {value!r}; it must be above zero")
        return value

    def flag(self, *names: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.get(*names, default=default)
        if not isinstance(value, bool | int) or value not in (0, 1):
            raise self.wrong(names[0], f"is {value!r}, not true or false")
        return bool(value)

    def text(self, *names: str, default: str | None = None) -> str:
        """A string."""
        value = self.get(*names, default=default)
        if value is None:
            raise self.missing(names[0])
        if not isinstance(value, str):
            raise self.wrong(names[0], f"is {value!r}, not a string")
        return value

    def items(self, *names: str) -> list[Any] | None:
        """A list, or None where the field is absent or null."""
        value = self.get(*names)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise self.wrong(names[0], f"is {value!r}, not a list")
        return list(value)

    def indices(self, *names: str) -> list[int] | None:
        """A list of layer numbers, or None where the field is absent or null."""
        values = self.items(*names)
        return None if values is None else [self.checked(names[0], value, 0) for value in values]

    def sub(self, *names: str, model_type: str) -> Fields:
        """A nested config, e.g. ``text_config``; `model_type` where it names none."""
        name = next((name for name in names if self.has(name)), names[0])
        value = self.data.get(name)
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            raise self.wrong(name, f"is {value!r}, not an object")
        return Fields(value, str(value.get("model_type") or model_type), self._path(name), read=self.read)

    def named(self, model_type: str) -> Fields:
        """The same config read as another model type's: old checkpoints name a sub-config after the whole model."""
        return Fields(self.data, model_type, self._where, read=self.read)

    def part(self, name: str, model_type: str) -> Fields:
        """A nested config read as `model_type`'s, whatever type it names itself."""
        return self.sub(name, model_type=model_type).named(model_type)

    def replaced(self, **fields: Any) -> Fields:
        """A copy in which some fields have other values."""
        return Fields({**self.data, **fields}, self.model_type, self._where, read=self.read)

    def divides(self, whole_name: str, whole: int, part_name: str, part: int) -> int:
        """`whole // part`, or ModelError where it leaves a rest."""
        if whole % part:
            raise ModelError(
                f"config of model type `{self.model_type}`: `{self._path(whole_name)}` = {whole} "
                f"is not a multiple of `{self._path(part_name)}` = {part}"
            )
        return whole // part
