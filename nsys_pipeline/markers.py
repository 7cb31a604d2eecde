"""The NVTX vocabulary: the contract between what runs under nsys and what reads the trace (version 1).

Everything is in the domain ``llmperf``, as push/pop ranges on the launching thread and as marks:

=========================  ===========================================================================
mark ``llmperf.run {…}``   once per process and window: model config, dtype, attention, framework, rank, world, …
range ``warmup``           encloses requests that do not count
range ``request``          one generation call
range ``prefill``          one forward pass over the prompt (``decode``: over the newest token); other
                           phase names are the user's
mark ``llmperf.step {…}``  first thing inside a phase range: the shape of the pass
mark ``llmperf.request``   ``{"id", "prompt", "waited_ms"}``: a server has taken in a request;
                           ``{"id", "given_up"}``: its client wants no more of it
mark ``llmperf.written``   behind a request: ``{"request", "tokens"}``, how many each of its sequences wrote
mark ``llmperf.backward``  last thing inside a backward range: ``{"of"}``, the passes that it goes through
=========================  ===========================================================================

A step mark holds ``q`` and ``kv``, new and cached tokens of each sequence (one number where all are equal, with ``b``,
the batch, where both are), and ``logits``. Engines add ``ids``, a small number for each request, and ``new``, which
names the numbers that come up for the first time: {"17": "cmpl-…"}; ``drafts``, tokens of ``q`` that are guesses;
``ahead``: true where ``kv`` may count guesses that turn out to be rejected; ``images``: [h, w] in patches of each image
that the vision tower encodes; ``audio``: frames of each clip that an encoder of sound gets; ``unsized``: "images" and
"audio" that are encoded and whose sizes nobody knows; ``encoder``: tokens of each sequence that the first of two stacks
reads; ``adapters``: sequences that run through LoRA weights, which no estimate counts; ``padded``: [new, cached,
logits] of the batch as it is computed, new and cached tokens of each of its sequences, if ``q`` and ``kv`` leave
padding out; ``unread``: true where they may hold padding, for a mask came with the pass and nobody knows what it says;
``written``: how many tokens each sequence had written before the pass, if some may have ended since they began: those
that, as the mark of ``request`` (a number) says, wrote no more are padding;
``grads``: "embeddings" or "cache", what a forward of training is given that has gradients, ``frozen``: true where it
trains no weight of the model;
``head``: "unknown" where ``logits`` leaves out an LM head whose positions only the GPU knows, "apart" where the program
may run one itself; ``pass``: a number by which marks of backwards name the pass; ``run``: the same number as in the
run mark that says what the model is in this pass, if it is not what the first one says.

In your own program, with or without torch, profiled or not::

    from nsys_pipeline.markers import phase, step

    with phase("prefill"):
        step(q_tokens=1024, batch=4)
        model(prompt)

Without a profiler every call returns at once. Only the standard library is imported at run time, so that this file
can be loaded into environments that have nothing else of ours.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from nsys_pipeline.nvtx_injection import INJECTION_VARIABLE, InjectedDomain, InjectionError

if TYPE_CHECKING:
    from nsys_pipeline.records import Step

VERSION = 1
DOMAIN = "llmperf"
RUN_MARK = "llmperf.run"
STEP_MARK = "llmperf.step"
REQUEST_MARK = "llmperf.request"
BACKWARD_MARK = "llmperf.backward"
WRITTEN_MARK = "llmperf.written"
MARKS = (RUN_MARK, STEP_MARK, REQUEST_MARK, BACKWARD_MARK, WRITTEN_MARK)
WARMUP = "warmup"
REQUEST = "request"
PREFILL = "prefill"
DECODE = "decode"
OWN = "llmperf"
"""The phase of what the marks themselves ask the GPU for, behind a request. It is left out as warm-up is."""

TRAINED = ("train_only", "trained_at", "trained_unknown", "lora_rank", "lora_on", "lora_ranks", "adapters")
"""Fields of the run mark about which weights are trained."""

TORCH_PREFIX = "llmperf:"
"""How annotations of torch.profiler begin that stand for ranges and marks of the domain; the rest is percent-encoded,
because torch writes names into its JSON as they are."""

WINDOW_VARIABLE = "LLMPERF_WINDOW"
"""Environment variable that tells the marks of an engine what to record; workload/engines/window.py reads it."""

MESSAGE = "llmperf: "
"""How a line begins that the markers write on a program's stderr; `llmperf capture` shows such lines as warnings."""

BACKEND_VARIABLE = "LLMPERF_MARKERS"
"""Environment variable that picks how ranges reach the profiler: injection (default), nvtx, torch, profiler or off."""

TORCH_TRACE_VARIABLE = "LLMPERF_TORCH_TRACE"
"""Environment variable that names the file that the built-in workload has torch.profiler write."""

TORCH_RECORD_VARIABLE = "LLMPERF_TORCH_RECORD"
"""Environment variable that has other programs recorded into that file, too; workload/record.py reads it."""

RECORD_PLAIN, RECORD_WITH_MARKS = "plain", "marks"
"""What it says: the program as it is, or with the marks of `--auto`."""


def encode_step(step: Step) -> str:
    """Text of the mark that describes `step`; equal values become one number with the batch size as ``b``."""
    details: dict[str, Any] = {} if step.experts is None else {"experts": float(step.experts)}
    details |= {"images": step.images, "audio": step.audio, "unsized": step.unsized, "encoder": step.encoder_tokens}
    if step.padded is not None:
        # All sequences are padded to one length.
        encoder = step.padded.encoder_tokens[:1]
        details["padded"] = [step.padded.q_tokens[0], step.padded.kv_tokens[0], step.padded.logits, *encoder]
    details["unread"] = step.is_unread
    return _encode_step(step.q_tokens, step.kv_tokens, step.logits, details)


def decode_step(payload: str) -> Step:
    """Read back the JSON of a step mark. Raises ValueError for anything that is not a step."""
    from nsys_pipeline.records import MAX_BATCH, Step

    try:
        data = json.loads(payload)
        q, kv = data["q"], data.get("kv", 0)
        sizes = {len(value) for value in (q, kv) if isinstance(value, list)}
        if data.get("b") is not None:
            sizes.add(_count(data["b"]))
        batch = sizes.pop() if sizes else 1
        if sizes or batch > MAX_BATCH or (not batch and not isinstance(q, list)):
            raise ValueError(f"not a step: a batch of {batch:,} sequences and of {sorted(sizes)}")
        q_tokens = [_count(x) for x in q] if isinstance(q, list) else [_count(q)] * batch
        kv_tokens = [_count(x) for x in kv] if isinstance(kv, list) else [_count(kv)] * batch
        logits = data.get("logits")
        experts = data.get("experts")
        return Step(
            q_tokens,
            kv_tokens,
            len(q_tokens) if logits is None else _count(logits),
            None if experts is None else _number(experts),
            images=_images(data.get("images")),
            audio=_clips(data.get("audio")),
            unsized=_unsized(data.get("unsized")),
            encoder_tokens=_encoded(data.get("encoder"), len(q_tokens)),
            padded=_padded(data.get("padded"), len(q_tokens)),
            is_unread=bool(data.get("unread")),
            may_have_ended=bool(data.get("written")),
            head=data["head"] if data.get("head") in ("unknown", "apart") else None,
            gradients_of=_gradients_of(data.get("grads")),
            is_frozen=bool(data.get("frozen")),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a step: {payload[:200]!r}") from error


def _padded(value: object, batch: int) -> Step | None:
    """The batch as it is computed: new and cached tokens of each sequence, logits, tokens of its encoder."""
    from nsys_pipeline.records import Step

    if value is None:
        return None
    if not isinstance(value, list) or len(value) not in (3, 4):
        raise ValueError(f"not a step: {str(value)[:200]!r} is no padded batch")
    q_tokens, kv_tokens, logits, *encoder = map(_count, value)
    return Step([q_tokens] * batch, [kv_tokens] * batch, logits, encoder_tokens=encoder * batch)


def _count(value: object) -> int:
    """`value`, which must be a number of tokens or sequences; one without end would fill the memory."""
    from nsys_pipeline.records import MAX_TOKENS

    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        raise ValueError(f"not a step: {value!r} is no number of tokens")
    return value


def _images(value: object) -> list[tuple[int, int]]:
    """Grids of images, [height, width] in patches each; an absent list is empty."""
    from nsys_pipeline.records import MAX_BATCH, MAX_TOKENS

    grids = [] if value is None else value
    if not isinstance(grids, list) or len(grids) > MAX_BATCH:
        raise ValueError(f"not a step: {str(value)[:200]!r} are no images")
    for grid in grids:
        if not isinstance(grid, list) or len(grid) != 2 or 0 in grid or _count(grid[0]) * _count(grid[1]) > MAX_TOKENS:
            raise ValueError(f"not a step: {grid!r} is no image of [height, width] patches")
    return [(height, width) for height, width in grids]


def _unsized(value: object) -> list[str]:
    """What has no size, of `images` and `audio`; an absent list is empty."""
    if value is None:
        return []
    if not isinstance(value, list) or any(kind not in ("images", "audio") for kind in value):
        raise ValueError(f"not a step: {str(value)[:200]!r} are no images and no audio")
    return value


def _gradients_of(value: object) -> str | None:
    if value not in (None, "embeddings", "cache"):
        raise ValueError(f"not a step: {str(value)[:200]!r} are no inputs with gradients")
    return value


def _clips(value: object) -> list[int]:
    """Frames of clips of sound; an absent list is empty."""
    from nsys_pipeline.records import MAX_BATCH

    clips = [] if value is None else value
    if not isinstance(clips, list) or len(clips) > MAX_BATCH:
        raise ValueError(f"not a step: {str(value)[:200]!r} are no clips of sound")
    return [_count(frames) for frames in clips]


def _encoded(value: object, batch: int) -> list[int]:
    """Tokens that the encoder reads of each of `batch` sequences; an absent list is empty."""
    lengths = [] if value is None else value
    if not isinstance(lengths, list) or len(lengths) not in (0, batch):
        raise ValueError(f"not a step: {str(value)[:200]!r} are no tokens of an encoder of {batch:,} sequences")
    return [_count(tokens) for tokens in lengths]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"not a step: {value!r} is no number")  # noqa: TRY004 - what a reader of marks catches
    if value < 1:
        raise ValueError(f"not a step: {value!r} experts")
    return float(value)


def encode_run(**fields: Any) -> str:
    """Text of the mark that describes the run of one process. `fields`: docs/architecture.md, Contract 1."""
    return f"{RUN_MARK} {json.dumps({'v': VERSION, **fields}, separators=(',', ':'), sort_keys=True, default=str)}"


def phase(name: str, shape: Step | None = None) -> AbstractContextManager[None]:
    """Open a range around one phase; use it in a ``with``. With `shape`, the step mark is set first inside it."""
    backend = _backend()
    return _NOTHING if backend is None else _range(backend, name, shape)


def step(
    q_tokens: int | Sequence[int],
    kv_tokens: int | Sequence[int] = 0,
    *,
    batch: int | None = None,
    logits: int | None = None,
    experts: float | None = None,
    **details: Any,
) -> None:
    """Say the shape of the pass that the open phase range is about; call it first inside the range.

    `q_tokens`: new tokens per sequence, `kv_tokens`: tokens already cached per sequence; one number stands for all
    `batch` sequences (default 1, or the length of the sequence given). `logits`: positions, summed over the batch,
    for which the LM head is computed; default one per sequence. `experts`: distinct routed experts that the pass runs
    in a layer, as a mean over the layers that have any; without it, the estimate of their bytes supposes uniform
    routing. `details`: ids, new, drafts, ahead, images, audio, unsized, encoder, adapters, padded, unread, request,
    written, grads and frozen, as the head of this file says; those that are empty or None are left out. Raises
    ValueError when lengths disagree.
    """
    backend = _backend()
    if backend is None:
        return
    lengths = {len(value) for value in (q_tokens, kv_tokens) if not isinstance(value, int)}
    if batch is not None:
        lengths.add(batch)
    if len(lengths) > 1:
        raise ValueError(f"one step cannot hold batches of {sorted(lengths)} sequences")
    size = lengths.pop() if lengths else 1
    queries = [q_tokens] * size if isinstance(q_tokens, int) else q_tokens
    cached = [kv_tokens] * size if isinstance(kv_tokens, int) else kv_tokens
    if experts is not None:
        details = {"experts": float(experts), **details}
    backend.mark(_encode_step(queries, cached, size if logits is None else logits, details))
    if _is_told_again:
        _tell_again(backend)


def arrived(
    request: str, *, prompt_tokens: int | None = None, waited_ms: float = 0.0, samples: int | None = None
) -> None:
    """Say that a server has taken in a request, which waited for `waited_ms` before this call.

    `samples`: texts that the client asked for at once, if the server makes each of them in a request like this one.
    """
    backend = _backend()
    if backend is not None:
        told = {"id": request, "prompt": prompt_tokens, "waited_ms": waited_ms}
        backend.mark(f"{REQUEST_MARK} {_to_json(told | ({'samples': samples} if samples else {}))}")


def given_up(request: str) -> None:
    """Say that a request has ended before its time: of a step that still runs, nobody gets a token."""
    backend = _backend()
    if backend is not None:
        backend.mark(f"{REQUEST_MARK} {_to_json({'id': request, 'given_up': True})}")


def written(request: int, tokens: Sequence[int]) -> None:
    """Say, behind a request, how many tokens each of its sequences wrote, by the `request` of its step marks."""
    backend = _backend()
    if backend is not None:
        backend.mark(f'{WRITTEN_MARK} {{"request":{request},"tokens":{integers(tokens)}}}')


def backward_of(passes: Sequence[int]) -> None:
    """Say, at the end of a backward, which forward passes it went through, by the `pass` of their step marks."""
    backend = _backend()
    if backend is not None:
        backend.mark(f'{BACKWARD_MARK} {{"of":{integers(passes)}}}')


def push(name: str) -> None:
    """Open a range that another call closes; `phase` is better wherever one function can hold both."""
    backend = _backend()
    if backend is not None:
        backend.push(name)


def pop() -> None:
    """Close the innermost range of this thread."""
    backend = _backend()
    if backend is not None:
        backend.pop()


def run(**fields: Any) -> None:
    """Describe this process once: model (the Hugging Face config as a dict), dtype, attn, framework, rank, world.

    Where torch opens the profiler's window later (cudaProfilerStart), the first step inside says it again.
    """
    backend = _backend()
    if backend is not None:
        text = _described[fields.get("run", 0)] = encode_run(**fields)
        backend.mark(text)
        _watch_window()


def _watch_window() -> None:
    """Know when the program opens the profiler's window by torch's binding, once torch has one."""
    runtime: Any = getattr(sys.modules.get("torch._C"), "_cudart", None)
    start = getattr(runtime, "cudaProfilerStart", None)
    if start is None or hasattr(start, "__llmperf__"):
        return

    @functools.wraps(start)
    def started(*args: Any, **kwargs: Any) -> Any:
        global _is_told_again  # noqa: PLW0603 - of the process, as the window is
        result = start(*args, **kwargs)
        _is_told_again = True
        return result

    started.__llmperf__ = True  # type: ignore[attr-defined]
    with contextlib.suppress(AttributeError, TypeError):
        runtime.cudaProfilerStart = started


def _tell_again(backend: Backend) -> None:
    global _is_told_again  # noqa: PLW0603 - once for each window
    _is_told_again = False
    for text in _described.values():
        backend.mark(text)


def profiled() -> bool:
    """Whether a profiler of this process receives the ranges."""
    return _backend() is not None


def backend_name() -> str | None:
    """Return how ranges reach the profiler: injection, nvtx, torch or profiler; None when they do not."""
    names: dict[type, str] = {
        InjectedDomain: "injection", _NvtxPackage: "nvtx", _TorchNvtx: "torch", _TorchProfiler: "profiler"
    }  # fmt: skip
    return names.get(type(_backend()))


class Backend(Protocol):
    """How ranges and marks reach the profiler."""

    def push(self, name: str) -> None:
        """Open a range on this thread."""

    def pop(self) -> None:
        """Close the innermost range of this thread."""

    def mark(self, text: str) -> None:
        """Set a mark."""


# Set by nsys in its targets; a profiler that injects in another way than by the first is met by the other backends.
_PROFILER_VARIABLES = (INJECTION_VARIABLE, "NSYS_PROFILING_SESSION_ID")

_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()
_UNSET = object()
_chosen: Backend | object | None = _UNSET
_described: dict[int, str] = {}
"""The last run mark of each number."""
_is_told_again = False
"""Whether the next step says it again, for a window has opened behind it."""


def _backend() -> Backend | None:
    global _chosen  # noqa: PLW0603 - chosen once per process, at the first marker
    if _chosen is _UNSET:
        _chosen = choose_backend(os.environ.get(BACKEND_VARIABLE, ""))
    return _chosen  # type: ignore[return-value]


def choose_backend(name: str = "") -> Backend | None:
    """Return the backend called `name`, or the best one; None when this process is not profiled or nothing works.

    ``injection`` talks to the profiler directly and needs no package. ``nvtx`` uses the package of that name (from
    0.2.12 on Nsight Systems 2024.2 drops its ranges), ``torch`` uses ``torch.cuda.nvtx``, which knows no domains:
    the same texts then stand in the default domain. ``profiler``, which must be named, is torch.profiler.
    """
    if name == "profiler":
        with contextlib.suppress(ImportError):
            return _TorchProfiler()
        return None
    if name == "off" or not any(os.environ.get(variable) for variable in _PROFILER_VARIABLES):
        return None
    makers = {"injection": _from_injection, "nvtx": _from_nvtx, "torch": _from_torch}
    for maker in [makers[name]] if name in makers else list(makers.values()):
        with contextlib.suppress(InjectionError, ImportError):
            backend = maker()
            if backend is not None:
                return backend
    return None


@contextlib.contextmanager
def _range(backend: Backend, name: str, shape: Step | None) -> Iterator[None]:
    backend.push(name)
    try:
        if shape is not None:
            backend.mark(encode_step(shape))
        yield
    finally:
        backend.pop()


def integers(values: Sequence[int]) -> str:
    """JSON of a list of integers. Formatting them at once takes a tenth of what the json module does."""
    return f"[{('%d,' * len(values) % tuple(values))[:-1]}]"


def _encode_step(q_tokens: Sequence[int], kv_tokens: Sequence[int], logits: int, details: Mapping[str, Any]) -> str:
    parts = []
    are_lists = False
    for name, values in (("q", q_tokens), ("kv", kv_tokens)):
        is_list = not values or values.count(values[0]) < len(values)
        are_lists = are_lists or is_list
        parts.append(f'"{name}":{integers(values) if is_list else int(values[0])}')
    if not are_lists:
        parts.append(f'"b":{len(q_tokens)}')
    parts.append(f'"logits":{logits}')
    for name, value in details.items():
        if value:
            parts.append(f'"{name}":{value if type(value) in _AS_IT_IS else _to_json(value)}')
    return f"{STEP_MARK} {{{','.join(parts)}}}"


class Encoded(str):
    """A detail that is JSON already, as `integers` makes it."""

    __slots__ = ()


_AS_IT_IS = (int, Encoded)
"""What is JSON as it is printed. The json module takes some microseconds even for a number."""

_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _from_injection() -> Backend | None:
    return InjectedDomain.connect(DOMAIN)


def _from_nvtx() -> Backend:
    import nvtx

    return _NvtxPackage(nvtx)


def _from_torch() -> Backend:
    import torch

    return _TorchNvtx(torch.cuda.nvtx)


class _NvtxPackage:
    def __init__(self, nvtx: Any) -> None:
        self._nvtx = nvtx

    def push(self, name: str) -> None:
        self._nvtx.push_range(name, domain=DOMAIN)

    def pop(self) -> None:
        self._nvtx.pop_range(domain=DOMAIN)

    def mark(self, text: str) -> None:
        self._nvtx.mark(text, domain=DOMAIN)


class _TorchNvtx:
    def __init__(self, nvtx: Any) -> None:
        self._nvtx = nvtx

    def push(self, name: str) -> None:
        self._nvtx.range_push(name)

    def pop(self) -> None:
        self._nvtx.range_pop()

    def mark(self, text: str) -> None:
        self._nvtx.mark(text)


class _TorchProfiler:
    """Annotations of torch.profiler; a mark is one without length."""

    def __init__(self) -> None:
        from urllib.parse import quote

        from torch.profiler import record_function

        self._record, self._quote = record_function, quote
        self._open = threading.local()

    def _annotation(self, text: str) -> AbstractContextManager[Any]:
        # All of ASCII that is printed, but for quotes, backslashes and the percent sign.
        annotation: AbstractContextManager[Any] = self._record(TORCH_PREFIX + self._quote(text, safe=_SAFE_IN_NAMES))
        return annotation

    def push(self, name: str) -> None:
        annotation = self._annotation(name)
        annotation.__enter__()
        if not hasattr(self._open, "stack"):
            self._open.stack = []
        self._open.stack.append(annotation)

    def pop(self) -> None:
        if getattr(self._open, "stack", None):
            self._open.stack.pop().__exit__(None, None, None)

    def mark(self, text: str) -> None:
        with self._annotation(text):
            pass


_SAFE_IN_NAMES = " !#$&'()*+,/:;<=>?@[]^`{|}"
