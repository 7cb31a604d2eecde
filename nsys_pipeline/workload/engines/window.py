"""Record one window of an engine's steps: so many seconds, steps or requests. Standard library only.

`llmperf capture --window 200steps` sets LLMPERF_WINDOW in the target: the amount, then the file that appears when the
load begins, if there is one to wait for. The first process that makes a step starts nsys' recording, as
cudaProfilerStart does wherever it is called, and the first one that has made enough of them stops it.
"""

from __future__ import annotations

import os
import re
import sys
import time

from nsys_pipeline import markers

RECORDING = "recording"
"""Range around a window where there is no CUDA that could start a recording: `--nvtx-range recording@llmperf`."""


def parse_window(text: str) -> tuple[float, str]:
    """Amount and unit of `30s`, `200steps` or `50requests`. Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(s|steps|requests)", text.strip())
    if match is None or not float(match[1]) or (match[2] != "s" and "." in match[1]):
        raise ValueError(f"`{text}` is no window")
    return float(match[1]), match[2]


class Window:
    """Counts the steps of one process. `arm_file`: nothing begins before it exists."""

    def __init__(self, amount: float, unit: str, arm_file: str | None = None) -> None:
        self._amount, self._unit, self._arm_file = amount, unit, arm_file
        self._steps = 0
        self._begun_at_start = 0
        self._started_at: float | None = None
        self._is_over = False

    @classmethod
    def of_environment(cls) -> Window | None:
        """The window that this process was started with."""
        text, _, arm_file = os.environ.get(markers.WINDOW_VARIABLE, "").partition(":")
        try:
            return cls(*parse_window(text), arm_file or None) if text else None
        except ValueError:
            return None

    def before_step(self, begun: int) -> bool:
        """Start or stop the recording if it is time to, and say whether it starts.

        `begun`: requests that have had a step until now.
        """
        if self._is_over:
            return False
        self._steps += 1
        if self._started_at is None:
            if self._arm_file is not None and not os.path.exists(self._arm_file):  # noqa: PTH110 - for each step
                self._steps = 0
                return False
            self._started_at, self._begun_at_start = time.monotonic(), begun
            _record(starts=True)
            return True
        if self._is_reached(begun, self._started_at):
            self._is_over = True
            _record(starts=False)
        return False

    def _is_reached(self, begun: int, started_at: float) -> bool:
        done = {"s": time.monotonic() - started_at, "steps": self._steps - 1, "requests": begun - self._begun_at_start}
        return done[self._unit] >= self._amount


def _record(*, starts: bool) -> None:
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            runtime = torch.cuda.cudart()
            (runtime.cudaProfilerStart if starts else runtime.cudaProfilerStop)()
        elif starts:
            markers.push(RECORDING)
        else:
            markers.pop()
    except Exception as error:  # noqa: BLE001, RUF100 - the engine must run whatever happens
        sys.stderr.write(f"{markers.MESSAGE}the recording does not {'start' if starts else 'stop'}: {error!r}\n")
