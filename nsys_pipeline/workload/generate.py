"""Generation requests with markers: prefill once, decode token by token, eager or as a CUDA graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from nsys_pipeline import markers
from nsys_pipeline.errors import CheckError, UsageError
from nsys_pipeline.records import Step
from nsys_pipeline.workload.caches import cache_keyword, find_cache
from nsys_pipeline.workload.options import Shape

if TYPE_CHECKING:
    import torch


@attrs.frozen
class RequestTimes:
    """Host wall times of one request, in seconds: the prefill, and each decode step in order."""

    prefill_s: float
    decode_s: tuple[float, ...]
    total_s: float


class Engine(Protocol):
    """One way to run the model. Both calls return the next token of each sequence, shape (batch, 1), on the device."""

    def reset(self) -> None:
        """Forget the last request."""

    def prefill(self, prompt: torch.Tensor) -> torch.Tensor:
        """Run the prompt, shape (batch, prompt tokens); the LM head for its last position only."""

    def decode(self, token: torch.Tensor) -> torch.Tensor:
        """Run one more token for each sequence."""


class EagerEngine:
    """The model with a growing cache, as `generate` runs it."""

    def __init__(self, model: Any, pick: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._model, self._pick, self._keyword = model, pick, cache_keyword(model)
        self._cache: Any = None

    def reset(self) -> None:
        self._cache = None

    def prefill(self, prompt: torch.Tensor) -> torch.Tensor:
        return self._run(input_ids=prompt, logits_to_keep=1)

    def decode(self, token: torch.Tensor) -> torch.Tensor:
        return self._run(input_ids=token, **{self._keyword: self._cache})

    def _run(self, **inputs: Any) -> torch.Tensor:
        return self._pick(self._forward(**inputs).logits)

    def _forward(self, **inputs: Any) -> Any:
        output = self._model(**inputs, use_cache=True)
        self._cache = find_cache(output)
        return output


class GraphEngine:
    """Decode as one CUDA graph over a static cache of the request's full length; prefill stays eager.

    Everything that changes from step to step lives in tensors that the graph updates itself: the token, the keys and
    values, and the cache's own count of tokens, from which positions and mask follow. One graph serves one shape.
    `__init__` captures it and compares one replay with the same step run eagerly.
    """

    def __init__(
        self, model: Any, pick: Callable[[torch.Tensor], torch.Tensor], shape: Shape, prompt: torch.Tensor
    ) -> None:
        import torch

        # A step more than the request needs: the warm-up below must not run past the end.
        self._model, self._pick, self._keyword = model, pick, cache_keyword(model)
        self._length = shape.prompt_tokens + max(shape.new_tokens, _GRAPH_WARMUP_STEPS + 2)
        check_static_cache(model.config, self._length)
        self._cache = _static_cache(model, self._length)
        self._token = torch.zeros((shape.batch, 1), dtype=torch.long, device=prompt.device)
        self._graph, self._next, self._logits = self._capture(prompt)
        self._verify(prompt)

    def reset(self) -> None:
        self._cache.reset()

    def prefill(self, prompt: torch.Tensor) -> torch.Tensor:
        kept = {self._keyword: self._cache}
        output = self._model(input_ids=prompt, use_cache=True, logits_to_keep=1, **kept)
        return self._pick(output.logits)

    def decode(self, token: torch.Tensor) -> torch.Tensor:
        self._token.copy_(token)
        self._graph.replay()
        return self._next

    def _eager_step(self) -> torch.Tensor:
        output = self._model(input_ids=self._token, use_cache=True, **{self._keyword: self._cache})
        logits: torch.Tensor = output.logits
        return logits

    def _capture(self, prompt: torch.Tensor) -> tuple[Any, torch.Tensor, torch.Tensor]:
        import torch

        self._token.copy_(self.prefill(prompt))
        # Libraries choose kernels and allocate workspaces in their first calls, which a capture must not see.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_GRAPH_WARMUP_STEPS):
                self._pick(self._eager_step())
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._eager_step()
            chosen = self._pick(logits)
        return graph, chosen, logits

    def _verify(self, prompt: torch.Tensor) -> None:
        import torch

        steps = []
        for run in (self._eager_step, self._replay):
            self.reset()
            self._token.copy_(self.prefill(prompt))
            # Two steps: a position or mask frozen into the graph shows in the second.
            steps.append([run().float().clone() for _ in range(2)])
        self.reset()
        for eager, replayed in zip(*steps, strict=True):
            if not torch.allclose(eager, replayed, rtol=2e-2, atol=2e-2 * float(eager.abs().max())):
                raise CheckError(
                    "the CUDA graph does not compute what the eager step computes",
                    hint="run without `--cuda-graphs` and report the model",
                )

    def _replay(self) -> torch.Tensor:
        self._graph.replay()
        return self._logits


_GRAPH_WARMUP_STEPS = 3


def check_static_cache(config: Any, length: int) -> None:
    """Raise UsageError for a model whose decode step depends on host state that a CUDA graph would freeze."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    window = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention", "chunked_attention"}:
        raise UsageError(f"`--cuda-graphs` cannot run layers of type {', '.join(sorted(kinds))}")
    uses_window = "sliding_attention" in kinds or (not kinds and window and getattr(text, "use_sliding_window", True))
    if uses_window and window and window < length:
        raise UsageError(
            f"`--cuda-graphs` needs requests within the model's window of {window} tokens, and this one has {length}",
            hint="shorten the request or drop `--cuda-graphs`",
        )


def token_picker(*, sample: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """How the next token comes from logits of shape (batch, 1, vocabulary)."""
    import torch

    def greedy(logits: torch.Tensor) -> torch.Tensor:
        return logits[:, -1].argmax(dim=-1, keepdim=True)

    def sampled(logits: torch.Tensor) -> torch.Tensor:
        return torch.multinomial(torch.softmax(logits[:, -1].float(), dim=-1), num_samples=1)

    return sampled if sample else greedy


def run_request(
    engine: Engine,
    prompt: Any,
    shape: Shape,
    *,
    sync_steps: bool,
    synchronize: Callable[[], None],
    experts: Sequence[float | None] = (),
    images: Sequence[tuple[int, int]] = (),
    encoder_tokens: Sequence[int] = (),
    all_logits: bool = False,
    prompts: Sequence[int] = (),
) -> RequestTimes:
    """Run one request inside a `request` range and time it: one prefill, then `new_tokens` decode steps.

    With `sync_steps` the host waits for the GPU at the end of every phase, as a server that looks at each
    token does, and the times are those of whole steps; without, only the request's total is meaningful. `experts` says
    how many distinct experts each pass runs in a layer, where that is known, and `images` the patches of each image
    that the prefill sends through the vision tower; `encoder_tokens` are those that the first of two stacks reads in it
    of each sequence. `all_logits`: the prefill runs the LM head for all positions. `prompts`: tokens of each sequence's
    prompt without padding, if there is any. `prompt` is what the engine's `prefill` takes.
    """
    steps = _steps(shape, experts)
    logits = steps[0].new_tokens if all_logits else steps[0].logits
    steps[0] = attrs.evolve(steps[0], logits=logits, images=images, encoder_tokens=encoder_tokens)
    if prompts:
        steps = [_without_padding(step, prompts, shape.prompt_tokens) for step in steps]
    engine.reset()
    synchronize()
    decode_s = []
    started = time.perf_counter()
    with markers.phase(markers.REQUEST):
        with markers.phase(markers.PREFILL, steps[0]):
            token = engine.prefill(prompt)
            if sync_steps:
                synchronize()
        prefill_s = time.perf_counter() - started
        for step in steps[1:]:
            step_started = time.perf_counter()
            with markers.phase(markers.DECODE, step):
                token = engine.decode(token)
                if sync_steps:
                    synchronize()
            decode_s.append(time.perf_counter() - step_started)
        # Inside the range, so that no GPU work of this request is left when it closes.
        synchronize()
    return RequestTimes(prefill_s, tuple(decode_s), time.perf_counter() - started)


def _steps(shape: Shape, experts: Sequence[float | None]) -> list[Step]:
    """The prefill and every decode step of a request."""
    lengths = [(shape.prompt_tokens, 0), *((1, shape.prompt_tokens + index) for index in range(shape.new_tokens))]
    counts = [*experts, *[None] * (len(lengths) - len(experts))]
    return [
        attrs.evolve(Step.uniform(batch=shape.batch, q_tokens=new, kv_tokens=cached), experts=count)
        for (new, cached), count in zip(lengths, counts, strict=True)
    ]


def _without_padding(step: Step, prompts: Sequence[int], padded_to: int) -> Step:
    """`step` of prompts that are padded to one length: with their own tokens, and the padding beside them."""
    is_prefill = not any(step.kv_tokens)
    padded = Step(step.q_tokens, step.kv_tokens, step.logits)
    if is_prefill:
        logits = step.batch if step.logits == step.batch else sum(prompts)
        return attrs.evolve(step, q_tokens=prompts, logits=logits, padded=padded)
    cached = [tokens + step.kv_tokens[0] - padded_to for tokens in prompts]
    return attrs.evolve(step, kv_tokens=cached, padded=padded)


def _static_cache(model: Any, length: int) -> Any:
    from transformers import StaticCache

    return StaticCache(config=model.config, max_cache_len=length)
