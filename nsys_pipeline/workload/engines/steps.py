"""The range and the mark around one step of an engine. Standard library only."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nsys_pipeline import markers
from nsys_pipeline.workload.engines.window import Window

MIXED = "mixed"
VERIFY = "verify"
DRAFT = "draft"
DUMMY = "dummy"
VISION = "vision"

# A recording may begin at any time after the start: the run is described again this often while steps are made.
DESCRIBE_EVERY_S = 0.25

_local = threading.local()


def is_inside() -> bool:
    """Whether this thread is inside an engine's step, where models inside it get no ranges of their own."""
    return getattr(_local, "depth", 0) > 0


def _enter(change: int) -> None:
    _local.depth = getattr(_local, "depth", 0) + change


def phase_of(*, sequences: int, prefills: int, has_drafts: bool = False) -> str:
    """Name a step of `sequences` sequences, `prefills` of which compute tokens of their prompt."""
    if not prefills:
        return VERIFY if has_drafts else markers.DECODE
    return markers.PREFILL if prefills == sequences else MIXED


def wrap(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    """Replace the method, where the class has one of its own, by `wrapper(method, self, …)`."""
    method = owner.__dict__.get(name)
    if method is None:
        return

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(method, self, *args, **kwargs)

    setattr(owner, name, wrapped)


def ranged(name: str, method: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """A wrapper that runs the method in a quiet range of this name."""
    with quiet_range(name):
        return method(self, *args, **kwargs)


def version_of(package: str) -> str:
    """Version of an imported package, to be said in messages and in the run mark."""
    return str(getattr(sys.modules.get(package), "__version__", "of unknown version"))


def sizes_of(sizes: Any) -> list[int] | None:
    """Batches that an engine records CUDA graphs for, to be said in the run mark; None where it does not list them."""
    if not isinstance(sizes, (list, tuple)) or not sizes or not all(type(size) is int for size in sizes):
        return None
    return sorted(sizes)


class EngineSteps:
    """The open range of one worker, which lives from the launch of a step to the end of its sampling.

    `describe` gives the fields of the run mark. Whatever an unknown version makes fail here is said once; the engine
    runs on, with its own ranges.
    """

    def __init__(self, engine: str, version: str, describe: Callable[[], Mapping[str, Any]]) -> None:
        self._engine, self._version, self._describe = engine, version, describe
        self._described_at = float("-inf")
        self._can_describe = True
        self._fields: Mapping[str, Any] | None = None
        self._thread: int | None = None
        self._window = Window.of_environment()
        self.is_off = False

    def before_step(self, begun: int) -> None:
        """Close what is open, and see to it that the window is recorded; `begun`: requests that have had a step."""
        self.end()
        # Warm-up is in no window.
        if self._window is not None and not is_inside() and self._window.before_step(begun):
            self.describe_again()

    def begin(self, phase: str, q_tokens: Sequence[int], kv_tokens: Sequence[int], logits: int, **details: Any) -> None:
        """Open the range of a step; one that is still open is closed first."""
        self.turn(phase)
        markers.step(q_tokens, kv_tokens, logits=logits, **details)
        if self.is_description_due:
            self.describe()

    def describe_again(self) -> None:
        """Describe the run at the next step."""
        self._described_at = float("-inf")

    @property
    def is_description_due(self) -> bool:
        """Whether the next step says again what the run and its requests are: a recording may have begun."""
        return time.monotonic() - self._described_at > DESCRIBE_EVERY_S

    def turn(self, phase: str) -> None:
        """Open a range of `phase`, without a shape, in place of what is open."""
        self.end()
        markers.push(phase)
        self._thread = threading.get_ident()
        _enter(1)

    def switch(self, phase: str) -> None:
        """Close the range of the step and open one of `phase`, which ends with the step."""
        if self._thread == threading.get_ident():
            markers.pop()
            markers.push(phase)

    def end(self) -> None:
        """Close what is open on this thread."""
        if self._thread == threading.get_ident():
            self._thread = None
            _enter(-1)
            markers.pop()

    def describe(self) -> None:
        """Set the run mark."""
        self._described_at = time.monotonic()
        if not self._can_describe:
            return
        try:
            if self._fields is None:
                self._fields = self._describe()
            markers.run(**self._fields)
        except Exception as error:  # noqa: BLE001, RUF100 - an unknown version must still run
            self._can_describe = False
            self._say(f"does not describe its run as llmperf expects ({_short(error)}): give --model to `analyze`")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Run what reads an engine's objects: their layout is nobody's promise."""
        try:
            yield
        except Exception as error:  # noqa: BLE001, RUF100 - an unknown version must still run
            self.is_off = True
            self.end()
            self._say(f"does not describe its steps as llmperf expects ({_short(error)}): only its own ranges count")

    def _say(self, what: str) -> None:
        sys.stderr.write(f"{markers.MESSAGE}{self._engine} {self._version} {what}\n")


@contextlib.contextmanager
def quiet_range(name: str) -> Iterator[None]:
    """A range without a shape, inside which models get none of their own: warm-up, or a batch that keeps ranks company.

    An engine's own steps inside it keep theirs.
    """
    _enter(1)
    try:
        with markers.phase(name):
            yield
    finally:
        _enter(-1)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


class RequestNumbers:
    """Small numbers for the requests of a worker: their names are long, and a step has hundreds of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._count = 0
        self._last: tuple[Sequence[str], markers.Encoded] = ((), markers.Encoded("[]"))

    @property
    def count(self) -> int:
        """Requests that there have been."""
        return self._count

    def add(self, request: str) -> int:
        """The number of a request that may be new."""
        number = self._numbers.get(request)
        if number is None:
            number = self._numbers[request] = self._count
            self._count += 1
        return number

    def forget(self, requests: Sequence[str] | set[str]) -> None:
        """A name that comes again later is another request."""
        self._last = ((), markers.Encoded("[]"))
        for request in requests:
            self._numbers.pop(request, None)

    def of(self, requests: Sequence[str]) -> markers.Encoded:
        """Numbers of known requests, for a mark. Raises KeyError for one that is not known."""
        if requests != self._last[0]:
            numbers = markers.integers(list(map(self._numbers.__getitem__, requests)))
            self._last = requests, markers.Encoded(numbers)
        return self._last[1]

    def names(self, requests: Sequence[str]) -> dict[str, str]:
        """Number → name of known requests."""
        return {str(self._numbers[name]): name for name in requests}

    def meet(self, requests: Sequence[str]) -> dict[str, str]:
        """Number → name of those that were not known."""
        unknown = [name for name in requests if name not in self._numbers]
        return {str(self.add(name)): name for name in unknown}

    def keep(self, requests: Sequence[str], *, most: int = 4096) -> None:
        """Forget all others once there are too many."""
        if len(self._numbers) > most + len(requests):
            self._numbers = {name: self._numbers[name] for name in requests}
