"""What of a model its run mark rests on, as a quick look at each pass: programs change models that have run.

Standard library only, and nothing asks the GPU. Layers of a list are told apart, and the first and the last of them are
looked into: a model of eighty layers takes some tens of microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nsys_pipeline.workload.products import product_dtype

#: Names of the lists of a decoder's layers, in `model` itself or in what it is made of.
_LAYERS = ("layers", "h", "blocks")
#: Weights of adapters, which the run mark tells by themselves, and copies that they keep of whole modules.
_ADAPTERS = ("lora_", "modules_to_save", "ia3_", "trainable_tokens_delta", "token_adapter")


class Look(NamedTuple):
    """`modules`: which ones there are. `weights`: their sizes, and the layers of lists. `formats`: see `look_at`."""

    modules: tuple[int, ...]
    weights: tuple[object, ...]
    formats: tuple[str, ...]


def look_at(model: Any) -> Look | None:
    """What `model` is made of; None where weights come and go by themselves, as shards of several processes do.

    `formats`: of the first weight, and of products. In `weights`, that format is None, so that a cast of all of them
    leaves the rest as it was.
    """
    if getattr(model, "_is_replica", False) or _is_distributed():
        return None
    modules: list[int] = []
    weights: list[object] = []
    first: Any = None
    waiting: list[Any] = [model]
    for module in waiting:
        modules.append(id(module))
        children: Mapping[str, Any] = module._modules
        if len(children) > 2 and "0" in children and "1" in children:
            layers = list(children.values())
            modules += map(id, layers)
            weights.append(len(layers))
            waiting += (layers[0], layers[-1])
            continue
        waiting += [child for name, child in children.items() if child is not None and not name.startswith(_ADAPTERS)]
        for weight in module._parameters.values():
            if weight is not None and weight.ndim > 1:
                first = weight if first is None and weight.is_floating_point() else first
                # The format that most have is told by itself.
                dtype = None if first is not None and weight.dtype is first.dtype else weight.dtype
                weights.append((dtype, tuple(weight.shape), type(weight).__name__))
    formats = () if first is None else (str(first.dtype), str(product_dtype(model, first)))
    return Look(tuple(modules), tuple(weights), formats)


def _is_distributed() -> bool:
    from torch import distributed

    return bool(distributed.is_available() and distributed.is_initialized())


def as_built(model: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` of the config of `model` with the layers and the vocabulary that it has, where a program changed them.

    The lists of a config that have an entry for each layer are those of the first layers.
    """
    if _is_distributed():
        return dict(fields)
    name = next((one for one in ("text_config", "decoder") if isinstance(fields.get(one), Mapping)), None)
    text = dict(fields[name] if name else fields)
    rows = _rows(model)
    if rows is not None and isinstance(text.get("vocab_size"), int):
        text["vocab_size"] = rows
    told, built = text.get("num_hidden_layers"), _depth(model)
    if isinstance(told, int) and built is not None and 0 < built < told:
        text = {key: one[:built] if isinstance(one, list) and len(one) == told else one for key, one in text.items()}
        text["num_hidden_layers"] = built
    return {**fields, name: text} if name else text


def _rows(model: Any) -> int | None:
    """Rows of the LM head, if they are not those of the table that the config is about; None if they are."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    shapes = [tuple(getattr(getattr(one, "weight", None), "shape", ())) for one in (head, table)]
    if any(len(shape) != 2 for shape in shapes):
        return None
    return int(shapes[0][0])


def _depth(model: Any) -> int | None:
    """Layers of the model's one list of them."""
    base = getattr(model, "base_model", model)
    base = getattr(base, "language_model", base)
    found = [len(base._modules[name]) for name in _LAYERS if name in base._modules]
    return found[0] if len(found) == 1 else None
