"""The number format of a model's matrix products, where it is not that of its weights. Nothing here asks the GPU."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any


def product_dtype(model: Any, weight: Any) -> Any:
    """What a pass that begins now multiplies in: what autocast or FSDP2 casts to, "tf32", or the dtype of `weight`."""
    import torch

    state: Any = getattr(model, "_get_fsdp_state", lambda: None)()
    cast = getattr(getattr(state, "_mp_policy", None), "param_dtype", None)
    if cast is not None:
        return cast

    device = str(weight.device.type)
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    for context in _wrapped_in(getattr(model, "forward", None), torch.autocast):
        # As accelerate wraps `forward`, and Trainer with it: it begins inside the call of the model.
        if context.device == device and context._enabled:
            return context.fast_dtype
    return "tf32" if weight.dtype is torch.float32 and device == "cuda" and _is_tf32() else weight.dtype


def _is_tf32() -> bool:
    import torch

    matmul: Any = torch.backends.cuda.matmul
    # From torch 2.9 on. Once it was set, torch refuses to say the older one.
    return str(matmul.fp32_precision) == "tf32" if hasattr(matmul, "fp32_precision") else bool(matmul.allow_tf32)


def _wrapped_in(function: Any, kind: type) -> Iterator[Any]:
    """Objects of `kind` that decorators around `function` hold, the outermost first."""
    waiting, seen = [function], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen or len(seen) > _MOST:
            continue
        seen.add(id(one))
        if isinstance(one, kind):
            yield one
        elif isinstance(one, types.MethodType):
            waiting.append(one.__func__)
        elif isinstance(one, types.FunctionType):
            waiting += [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
        elif callable(getattr(one, "model_forward", None)):
            waiting.append(one.model_forward)


#: Objects to look at: decorators are few, and a closure may hold anything.
_MOST = 50


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
