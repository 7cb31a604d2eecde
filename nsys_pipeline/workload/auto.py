"""Markers for programs that have none: each forward pass of a transformers model becomes a phase range.

`install` waits for transformers to be imported and then wraps `PreTrainedModel.__call__` and `generate`. A program
that never imports it is left alone. Only the standard library is imported, and nothing here asks the GPU for a value:
shapes come from what the host knows, so that timing stays what it was.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from nsys_pipeline import markers
from nsys_pipeline.workload.describe import config_fields, ranks

ENCODER = "encoder"
FORWARD = "forward"

_local = threading.local()
_described = False


def install() -> None:
    """Wrap the model classes as soon as the program imports them; does nothing in a process that is not profiled."""
    if not markers.profiled():
        return
    for name, patch in _PATCHES.items():
        if name in sys.modules:
            patch(sys.modules[name])
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def phase_of(*, q_tokens: int, kv_tokens: int) -> str:
    """Name the pass: over a prompt or a part of one it is a prefill, over one token of a begun sequence a decode."""
    return markers.DECODE if q_tokens == 1 and kv_tokens > 0 else markers.PREFILL


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself, but has a module patched right after it was executed."""

    def __init__(self) -> None:
        self._searching = False

    def find_spec(self, fullname: str, *_: Any) -> Any:
        if fullname not in _PATCHES or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            execute, patch = spec.loader.exec_module, _PATCHES[fullname]

            def execute_and_patch(module: ModuleType) -> None:
                execute(module)
                try:
                    patch(module)
                except Exception as error:  # noqa: BLE001, RUF100 - an unknown version must still run
                    sys.stderr.write(f"llmperf: no markers for this version of {fullname}: {error!r}\n")

            spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def _patch_models(module: ModuleType) -> None:
    model_class: Any = module.PreTrainedModel
    call = model_class.__call__

    @functools.wraps(call)
    def marked_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        # Inside a compiled region there is no Python to run between kernels: the caller has set the range.
        if torch.compiler.is_compiling() or getattr(_local, "inside", False):
            return call(self, *args, **kwargs)
        with _forward_range(self, args, kwargs):
            return call(self, *args, **kwargs)

    model_class.__call__ = marked_call

    if hasattr(model_class, "get_compiled_call"):
        get_compiled_call = model_class.get_compiled_call

        @functools.wraps(get_compiled_call)
        def marked_compiled_call(self: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
            compiled = get_compiled_call(self, *args, **kwargs)

            def call_compiled(*call_args: Any, **call_kwargs: Any) -> Any:
                with _forward_range(self, call_args, call_kwargs):
                    return compiled(*call_args, **call_kwargs)

            return call_compiled

        model_class.get_compiled_call = marked_compiled_call


def _patch_generation(module: ModuleType) -> None:
    mixin: Any = module.GenerationMixin
    generate = mixin.generate

    @functools.wraps(generate)
    def marked_generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(_local, "generating", False):
            return generate(self, *args, **kwargs)
        _local.generating = True
        try:
            with markers.phase(markers.REQUEST):
                return generate(self, *args, **kwargs)
        finally:
            _local.generating = False

    mixin.generate = marked_generate


def _patch_compiled_modules(module: ModuleType) -> None:
    optimized: Any = module.OptimizedModule
    call = optimized.__call__

    @functools.wraps(call)
    def marked_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        models = sys.modules.get("transformers.modeling_utils")
        original = getattr(self, "_orig_mod", None)
        if models is None or not isinstance(original, models.PreTrainedModel) or getattr(_local, "inside", False):
            return call(self, *args, **kwargs)
        with _forward_range(original, args, kwargs):
            return call(self, *args, **kwargs)

    optimized.__call__ = marked_call


_PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "transformers.modeling_utils": _patch_models,
    "transformers.generation.utils": _patch_generation,
    "torch._dynamo.eval_frame": _patch_compiled_modules,
}


@contextlib.contextmanager
def _forward_range(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    """One range around one forward pass; models inside models (encoders, backbones) get none of their own."""
    shape: tuple[str, int, int, int, int] | None = None
    cache: Any = None
    with contextlib.suppress(Exception):
        arguments = _named_arguments(model, args, kwargs)
        cache = arguments.get("past_key_values")
        shape = _shape(model, arguments, cache)
        _describe_once(model)
    if shape is None:
        yield
        return
    name, batch, q_tokens, kv_tokens, logits = shape
    _local.inside = True
    try:
        with markers.phase(name):
            markers.step(q_tokens, kv_tokens, batch=batch, logits=logits)
            yield
        _count_tokens(cache, kv_tokens + q_tokens)
    finally:
        _local.inside = False


def _shape(model: Any, arguments: dict[str, Any], cache: Any) -> tuple[str, int, int, int, int] | None:
    """Phase, batch, new and cached tokens per sequence (padding included, as it is computed), positions of logits."""
    import torch

    two_stacks = bool(getattr(model.config, "is_encoder_decoder", False))
    decoder = two_stacks and type(model).__name__.endswith("ForConditionalGeneration")
    ids = arguments.get("decoder_input_ids") if decoder else None
    if ids is None:
        ids = arguments.get("input_ids")
    if ids is None:
        ids = arguments.get("inputs_embeds")
    if ids is None or ids.dim() < 2:
        return None
    batch, q_tokens = int(ids.shape[0]), int(ids.shape[1])
    kv_tokens = _cached_tokens(cache)
    logits = batch * _kept_positions(arguments, q_tokens)
    if model.training and torch.is_grad_enabled():
        return FORWARD, batch, q_tokens, kv_tokens, logits
    if two_stacks and not decoder:
        return ENCODER, batch, q_tokens, 0, 0
    if not _generates(model):
        return FORWARD, batch, q_tokens, kv_tokens, logits
    return phase_of(q_tokens=q_tokens, kv_tokens=kv_tokens), batch, q_tokens, kv_tokens, logits


def _generates(model: Any) -> bool:
    return bool(getattr(type(model), "can_generate", lambda: False)()) or type(model).__name__.endswith("ForCausalLM")


def _kept_positions(arguments: dict[str, Any], q_tokens: int) -> int:
    kept = arguments.get("logits_to_keep", arguments.get("num_logits_to_keep"))
    if kept is None or (isinstance(kept, int) and kept == 0):
        return q_tokens
    return min(kept, q_tokens) if isinstance(kept, int) else int(kept.numel())


def _cached_tokens(cache: Any) -> int:
    """How many tokens of each sequence `cache` holds, without a question to the GPU.

    A growing cache knows from its tensors' shapes. A static one keeps its count on the device: for those the tokens
    that went through are counted here, from zero, and `reset` starts the count again.
    """
    if cache is None:
        return 0
    if isinstance(cache, (tuple, list)):
        return int(cache[0][0].shape[-2]) if cache else 0
    if _is_static(cache):
        return int(getattr(cache, "_llmperf_tokens", 0))
    return int(cache.get_seq_length())


def _count_tokens(cache: Any, tokens: int) -> None:
    if cache is None or not _is_static(cache):
        return
    if not hasattr(cache, "_llmperf_tokens"):
        reset = cache.reset

        def counted_reset(*args: Any, **kwargs: Any) -> Any:
            cache._llmperf_tokens = 0
            return reset(*args, **kwargs)

        cache.reset = counted_reset
    cache._llmperf_tokens = tokens


def _is_static(cache: Any) -> bool:
    return "Static" in type(cache).__name__ or bool(getattr(cache, "is_compileable", False))


@functools.cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(forward).parameters)[1:]


def _named_arguments(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(_parameters(type(model).forward), args, strict=False)) | kwargs if args else kwargs


def _describe_once(model: Any) -> None:
    global _described  # noqa: PLW0603 - one run mark for each process
    if _described:
        return
    _described = True
    import torch
    import transformers

    markers.run(
        markers=markers.backend_name(),
        model=config_fields(model),
        dtype=str(model.dtype).removeprefix("torch."),
        attn=getattr(model.config, "_attn_implementation", None),
        framework="transformers",
        framework_version=transformers.__version__,
        torch_version=torch.__version__,
        device=str(model.device),
        **ranks(),
    )
