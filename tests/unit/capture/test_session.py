"""How a session with nsys goes on and ends, with a stand-in that does what nsys does at the worst moment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from nsys_pipeline.capture import CapturePlan
from nsys_pipeline.capture.session import Outcome, run_session

_HEAD = "import os, pathlib, subprocess, sys, time\n"
_WRITES = """
subprocess.run(["sleep", "0.5"])
print("Generating '/tmp/nsys-report-c462.qdstrm'", flush=True)
time.sleep(2)
"""


@attrs.define
class Listener:
    """Does something when it hears of a stage or a line that begins so."""

    actions: dict[str, Callable[[], object]] = attrs.field(factory=dict)
    stages: list[str] = attrs.field(factory=list)

    def stage(self, text: str) -> None:
        self.stages.append(text)
        self.output(text)

    def output(self, line: str) -> None:
        for beginning in [known for known in self.actions if line.startswith(known)]:
            self.actions.pop(beginning)()


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def session(tmp_path: Path, program: str, listener: Listener | None = None, timeout_s: float = 30) -> Outcome:
    plan = CapturePlan(command=("x",), timeout_s=timeout_s)
    argv = [sys.executable, "-c", _HEAD + program]
    return run_session(argv, plan, tmp_path / "workload.log", listener or Listener())


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def test_ctrl_c_while_nsys_writes_the_report_does_not_cost_it(tmp_path: Path) -> None:
    listener = Listener({"nsys is writing the report": send(signal.SIGINT)})
    outcome = session(tmp_path, _WRITES, listener)
    assert (outcome.stopped, outcome.returncode) == ("interrupt", 0)
    assert listener.stages[-1] == "nsys is writing the report; press Ctrl-C again to give it up"


def test_another_ctrl_c_does(tmp_path: Path) -> None:
    listener = Listener({})
    listener.actions = {
        "nsys is writing the report": lambda: listener.actions.update({"nsys": again}) or send(signal.SIGINT)()
    }
    again = send(signal.SIGINT)
    outcome = session(tmp_path, _WRITES, listener)
    assert (outcome.stopped, outcome.returncode) == ("interrupt", -signal.SIGINT)


def test_a_timeout_is_the_workloads_and_not_that_of_the_report(tmp_path: Path) -> None:
    outcome = session(tmp_path, _WRITES, timeout_s=1.5)
    assert (outcome.stopped, outcome.returncode) == (None, 0)


def test_nsys_is_not_stopped_before_it_has_started_the_workload(tmp_path: Path) -> None:
    program = """
import signal
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
time.sleep(1)
too_early = len(got)
child = subprocess.Popen(["sleep", "30"])
while not got: time.sleep(0.05)
child.kill()
child.wait()
print(too_early)
"""
    outcome = session(tmp_path, program, timeout_s=0.1)
    assert (outcome.stopped, outcome.returncode) == ("timeout", 0)
    assert (tmp_path / "workload.log").read_text() == "0\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_stops_the_workload_in_order(tmp_path: Path, number: signal.Signals) -> None:
    program = """
try:
    print("ready", flush=True)
    subprocess.run(["sleep", "30"])
except KeyboardInterrupt: print("in order")
"""
    outcome = session(tmp_path, program, Listener({"ready": send(number)}))
    assert (outcome.stopped, outcome.returncode) == ("interrupt", 0)
    assert (tmp_path / "workload.log").read_text() == "ready\nin order\n"


def test_a_last_line_without_an_end_hides_nothing(tmp_path: Path) -> None:
    program = r"""
sys.stdout.write("\r 20%|##\r 40%|####Generating '/tmp/nsys-report-c462.qdstrm'\n")
sys.stdout.write("[1/1] [0%   ] trace.nsys-rep\r[1/1] [100%   ] trace.nsys-rep\n")
sys.stdout.write("Generated:\n    /tmp/trace.nsys-rep\n")
"""
    outcome = session(tmp_path, program)
    assert outcome.recording == Path("/tmp/nsys-report-c462.qdstrm")
    assert (tmp_path / "workload.log").read_bytes() == b"\r 20%|##\r 40%|####"


def test_a_progress_bar_is_seen_while_it_moves(tmp_path: Path) -> None:
    # given a bar that goes on only when it has been seen
    seen = tmp_path / "seen"
    program = f"""
sys.stdout.write(" 20%|##\\r"); sys.stdout.flush()
while not os.path.exists({str(seen)!r}): time.sleep(0.05)
"""
    outcome = session(tmp_path, program, Listener({" 20%": seen.touch}), timeout_s=20)
    assert outcome.stopped is None


@pytest.mark.parametrize(("is_terminal", "expected"), [(False, "'a prompt'"), (True, "''")])
def test_the_workload_reads_our_input_but_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, expected: str
) -> None:
    # A real terminal could become that of the tests, and end them when it is closed.
    monkeypatch.setattr(os, "isatty", lambda _: is_terminal)
    ours = os.dup(0)
    readable, writable = os.pipe()
    os.write(writable, b"a prompt")
    # Its end is the end of the input.
    os.close(writable)
    try:
        os.dup2(readable, 0)
        session(tmp_path, "print(repr(sys.stdin.read()))", timeout_s=20)
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        os.close(readable)
    assert (tmp_path / "workload.log").read_text() == f"{expected}\n"
