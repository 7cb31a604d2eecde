"""Continuous batching of transformers (`generate_batch`): each step, from the requests of its batch.

The model gets one long sequence, whose parts only the batch tells apart. A version that lays its batches out in another
way keeps the ranges of its forward passes, which have no shape then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from nsys_pipeline import markers
from nsys_pipeline.workload.engines.steps import EngineSteps, RequestNumbers, phase_of, ranged, version_of, wrap


def patch_batching(module: ModuleType) -> None:
    """Mark steps, warm-up and the arrival of requests."""
    processor, manager = module.ContinuousBatchProcessor, module.ContinuousBatchingManager
    processor._generation_step = _marked_step(processor._generation_step)
    wrap(processor, "warmup", functools.partial(ranged, markers.WARMUP))
    manager.add_request = _marked_arrival(manager.add_request)


def _marked_step(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def marked(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        steps: _Steps | None = self.__dict__.get("_llmperf_steps")
        if steps is None:
            steps = self._llmperf_steps = _Steps(model)
        steps.begin(self, model)
        try:
            return method(self, model, *args, **kwargs)
        finally:
            steps.marks.end()

    return marked


def _marked_arrival(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def marked(self: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        request = method(self, input_ids, *args, **kwargs)
        if request is not None:
            # Further texts of a prompt go on with its cache, as requests of their own.
            texts = getattr(self, "num_return_sequences", 1)
            children = range(texts - 1 if isinstance(texts, int) else 0)
            for name in (str(request), *(f"{request}__child#{number}" for number in children)):
                markers.arrived(name, prompt_tokens=len(input_ids))
        return request

    return marked


class _Steps:
    def __init__(self, model: Any) -> None:
        # The run is described as that of any other transformers model, once.
        self.marks = EngineSteps("transformers", version_of("transformers"), lambda: _description(model))
        self._numbers = RequestNumbers()

    def begin(self, processor: Any, model: Any) -> None:
        if not self.marks.is_off:
            with self.marks.guarded():
                self._begin(_batch(processor), model)

    def _begin(self, batch: list[Any], model: Any) -> None:
        self.marks.before_step(self._numbers.count)
        ids = [str(future.state.request_id) for future in batch]
        q_tokens = [int(future.query_length) for future in batch]
        # What is computed now is counted in the offset already.
        kv_tokens = [int(future.state.position_offset) - q for future, q in zip(batch, q_tokens, strict=True)]
        prompts = [len(future.state.initial_tokens) for future in batch]
        prefills = sum(kv < prompt for kv, prompt in zip(kv_tokens, prompts, strict=True))
        named = self._numbers.meet(ids)
        if self.marks.is_description_due:
            named = self._numbers.names(ids)
        keeps = getattr(model, "_supports_logits_to_keep", None)
        kept = sum(bool(future.has_new_token) for future in batch)
        logits = kept if keeps is not None and keeps() else sum(q_tokens)
        phase = phase_of(sequences=len(batch), prefills=prefills)
        self.marks.begin(phase, q_tokens, kv_tokens, logits, ids=self._numbers.of(ids), new=named)
        self._numbers.keep(ids)


def _batch(processor: Any) -> list[Any]:
    """Requests of the batch that is launched; with two of them in flight, of the one whose turn it is."""
    prepared = processor.inputs_and_outputs
    if hasattr(prepared, "io_pairs"):
        prepared = prepared.io_pairs[prepared.current_pair].host_io
    batch = list(prepared.requests_in_batch)
    if not batch:
        raise ValueError("a batch without requests")
    return batch


def _description(model: Any) -> dict[str, Any]:
    from nsys_pipeline.workload.auto import run_fields

    return run_fields(model)
