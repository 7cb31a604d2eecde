"""torch.profiler around a whole program: from its import of torch to its end (`capture --backend torch -- COMMAND`).

Only the standard library is imported before the program imports torch itself. One process records, the first that
imports torch; of a job of torchrun each rank does.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nsys_pipeline import markers
from nsys_pipeline.workload.after_import import after_import

if TYPE_CHECKING:
    from nsys_pipeline.workload.instrument import TorchRecorder

#: Process that records, for those that it starts: they inherit it.
_OWNER = "LLMPERF_TORCH_RECORDER"


def is_wanted() -> bool:
    """Whether this program is to be recorded by torch.profiler, and not by nsys."""
    return bool(os.environ.get(markers.TORCH_RECORD_VARIABLE))


def install() -> None:
    """Wait for the program to import torch, then record it; with marks if they are wanted."""
    after_import({"torch": _start}, what="recording")


def _start(_torch: ModuleType) -> None:
    if "WORLD_SIZE" not in os.environ and os.environ.get(_OWNER, str(os.getpid())) != str(os.getpid()):
        return
    from nsys_pipeline.workload.instrument import TorchRecorder

    os.environ[_OWNER] = str(os.getpid())
    recorder = TorchRecorder(Path(os.environ[markers.TORCH_TRACE_VARIABLE]), has_shapes=True, all_threads=True)
    recorder.start()
    finish = _once(recorder)
    atexit.register(finish)
    _give_way(finish)
    if os.environ[markers.TORCH_RECORD_VARIABLE] == markers.RECORD_WITH_MARKS:
        from nsys_pipeline.workload import auto

        auto.install()


def _once(recorder: TorchRecorder) -> Callable[[], bool]:
    """What ends `recorder` and writes its trace, the first time that it is called; it says whether this was it."""
    owner, left = os.getpid(), [recorder]

    def finish() -> bool:
        # A child that was forked inherits the handler, and its parent's profiler is not its own.
        if os.getpid() != owner or not left:
            return False
        last = left.pop()
        try:
            # The launcher of a job imports torch, too, and ends after its ranks.
            is_launcher = last.is_alone and any(last.trace.parent.glob("trace-rank*"))
            last.stop() if is_launcher else last.finish()
        except Exception as error:  # noqa: BLE001, RUF100 - the program's own end is not disturbed
            sys.stderr.write(f"{markers.MESSAGE}torch.profiler left no trace: {error!r}\n")
        return True

    return finish


def _give_way(finish: Callable[[], bool]) -> None:
    """End before the program starts a profiler of its own: a process has one at a time. All come through one method."""
    from torch.autograd.profiler import profile

    prepare = profile._prepare_trace

    def prepare_own(self: Any) -> Any:
        if finish():
            sys.stderr.write(f"{markers.MESSAGE}the program starts torch.profiler itself: the trace ends there\n")
        return prepare(self)

    profile._prepare_trace = prepare_own
