"""One window of a server's steps."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nsys_pipeline import markers
from nsys_pipeline.workload.engines.steps import EngineSteps, quiet_range
from nsys_pipeline.workload.engines.window import Window, parse_window
from tests.unit.workload.engines.recorder import Recorder


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(markers, "_chosen", recorder)
    monkeypatch.setitem(sys.modules, "torch", None)
    return recorder


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", (30.0, "s")), ("2.5 s", (2.5, "s")), ("200steps", (200.0, "steps"))]
)
def test_windows_as_they_are_typed(text: str, expected: tuple[float, str]) -> None:
    assert parse_window(text) == expected


@pytest.mark.parametrize("text", ["", "30", "0s", "-3s", "2.5steps", "5 minutes", "1e3s", "s"])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match="is no window"):
        parse_window(text)


def names(recorder: Recorder) -> list[str]:
    return [event for event in recorder.events if isinstance(event, str)]


def test_so_many_steps(recorder: Recorder) -> None:
    counted = Window(2, "steps")
    starts = []
    for _ in range(4):
        starts.append(counted.before_step(0))
        recorder.events.append("step")
    assert names(recorder) == ["+recording", "step", "step", "-", "step", "step"]
    assert starts == [True, False, False, False]


def test_until_so_many_requests_have_begun(recorder: Recorder) -> None:
    counted = Window(2, "requests")
    # three had begun before; two steps later two more have
    for begun in (3, 4, 5, 6):
        counted.before_step(begun)
        recorder.events.append(f"step {begun}")
    assert names(recorder) == ["+recording", "step 3", "step 4", "-", "step 5", "step 6"]


def test_so_many_seconds(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(at=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: now.at)
    counted = Window(1.5, "s")
    for at in (100.0, 101.0, 101.6, 102.0):
        now.at = at
        counted.before_step(0)
        recorder.events.append(f"step {at}")
    assert names(recorder) == ["+recording", "step 100.0", "step 101.0", "-", "step 101.6", "step 102.0"]


def test_nothing_begins_before_the_load(recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = tmp_path / "armed"
    monkeypatch.setenv(markers.WINDOW_VARIABLE, f"1steps:{arm}")
    counted = Window.of_environment()
    assert counted is not None
    counted.before_step(0)
    assert recorder.events == []
    arm.touch()
    counted.before_step(0)
    counted.before_step(0)
    assert names(recorder) == ["+recording", "-"]


def test_cuda_starts_and_stops_nsys(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    runtime = SimpleNamespace(
        cudaProfilerStart=lambda: calls.append("start"), cudaProfilerStop=lambda: calls.append("stop")
    )
    cuda = SimpleNamespace(is_initialized=lambda: True, cudart=lambda: runtime)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    counted = Window(1, "steps")
    counted.before_step(0)
    counted.before_step(0)
    assert (calls, recorder.events) == (["start", "stop"], [])


def test_a_window_holds_whole_steps_and_no_warm_up(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(markers.WINDOW_VARIABLE, "1steps")
    steps = EngineSteps("engine", "1", lambda: {"model": {}})
    with quiet_range("warmup"):
        steps.before_step(0)
        steps.begin("prefill", [1], [0], 1)
        steps.end()
    for begun in range(3):
        steps.before_step(begun)
        steps.begin("decode", [1], [begun], 1)
    steps.end()
    assert names(recorder) == [
        "+warmup", "+prefill", "-", "-", "+recording", "+decode", "-", "-", "+decode", "-", "+decode", "-",
    ]  # fmt: skip
    # the run is described again where the recording begins
    assert len(recorder.marks("run")) == 2


@pytest.mark.parametrize("text", ["", "soon", "3 days:/x"])
def test_no_window(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(markers.WINDOW_VARIABLE, text)
    assert Window.of_environment() is None
