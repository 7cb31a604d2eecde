"""`llmperf diff` and the gate: what changed, what did not, what does not compare, and exit codes."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nsys_pipeline.cli.common import output_file
from nsys_pipeline.cli.gate import _subject, read_base
from nsys_pipeline.compare.subject import Subject
from nsys_pipeline.errors import UsageError
from nsys_pipeline.report.diff import _clock_notes
from tests.cli.run import MS, run
from tests.support.kineto import KinetoTrace, from_export
from tests.support.trace_builder import TraceBuilder

Steps = Callable[..., Path]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """Traces of steps: equal ones are one file, which is analyzed once for all tests of a run."""
    folder = tmp_path_factory.mktemp("steps")

    @cache
    def trace_of(**how: Any) -> Path:
        return write_steps(folder / f"{trace_of.cache_info().currsize}.sqlite", **how)

    return trace_of


def write_steps(
    path: Path, *, slower: float = 1.0, gpu: str = "NVIDIA H100 80GB HBM3", seed: int = 1, extra: bool = False
) -> Path:
    """Forty decode steps of about 1 ms with 3 % noise; their attention takes `slower` times as long."""
    random, trace = Random(seed), TraceBuilder().gpu(name=gpu)
    main, now = trace.process().thread(), 0
    for _ in range(40):
        gemm = round(600_000 * random.gauss(1, 0.03))
        attention = round(200_000 * slower * random.gauss(1, 0.03))
        main.push(now, now + gemm + attention + 100_000, "decode")
        main.launch(now + 10, gpu=(now + 1_000, now + 1_000 + gemm), name="nvjet_tst_64x8")
        start = now + 2_000 + gemm
        main.launch(now + 20, gpu=(start, start + attention), name="flash_fwd_kernel")
        if extra:
            main.launch(now + 30, gpu=(start + attention, start + attention + 9_000), name="elementwise_kernel")
        now += gemm + attention + 150_000
    return trace.write(path)


def changes(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[tuple[str, str], dict[str, object]]:
    code, out, err = run(capsys, "diff", *argv, "--format", "json")
    assert code == 0, err
    return {(change["kind"], change["name"]): change for change in json.loads(out)["changes"]}


def test_a_run_against_itself_says_that_nothing_changed(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    trace = steps()

    assert {change["verdict"] for change in changes(capsys, trace, trace).values()} == {"same"}
    _, out, _ = run(capsys, "diff", trace, trace, "--no-cache")
    assert "nothing changed by more than its noise" in out


def test_equal_runs_differ_within_their_noise(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = steps(), steps(seed=2)

    assert {change["verdict"] for change in changes(capsys, base, new).values()} <= {"within noise", "same"}


def test_what_got_slower_is_named_and_the_rest_is_not(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = steps(), steps(slower=1.2, seed=2, extra=True)

    found = changes(capsys, base, new)

    verdicts = {key: change["verdict"] for key, change in found.items()}
    assert verdicts["family", "attention"] == verdicts["kernel", "flash_fwd_kernel"] == "changed"
    assert verdicts["kernel", "elementwise_kernel"] == "changed"
    assert verdicts["family", "gemm"] == "within noise"
    attention = found["family", "attention"]
    assert attention["change"] == pytest.approx(0.2, abs=0.02)
    assert (attention["base_occurrences"], attention["new_occurrences"]) == (40, 40)
    # the largest comes first
    assert next(iter(found)) in {("time", "GPU busy"), ("time", "wall"), ("budget", "compute")}


def test_runs_that_do_not_compare_are_refused_unless_forced(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = steps(), steps(gpu="NVIDIA H200")

    code, out, err = run(capsys, "diff", base, new)
    assert (code, out) == (2, "")
    assert "GPU NVIDIA H100 80GB HBM3 against NVIDIA H200" in err
    assert "--force-compare" in err
    assert changes(capsys, base, new, "--force-compare")


def test_of_two_clocks_kernels_change_by_their_ratio_and_the_host_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = waiting_steps(tmp_path / "a.sqlite", clock_mhz=1980, seed=1)
    new = waiting_steps(tmp_path / "b.sqlite", clock_mhz=1755, seed=2)

    found = changes(capsys, base, new)

    ratio = 1980 / 1755 - 1
    for key in (
        ("kernel", "nvjet_tst_64x8"),
        ("kernel", "flash_fwd_kernel"),
        ("time", "GPU busy"),
        ("budget", "compute"),
    ):
        assert found[key]["verdict"] == "changed"
        assert found[key]["change"] == pytest.approx(ratio, abs=0.01)
    assert found["budget", "host"]["verdict"] == "within noise"
    assert found["time", "wall"]["verdict"] == "changed"
    # The step is longer by what its kernels are: the host's part of it is as long as before.
    assert found["time", "wall"]["new_ns"] - found["time", "wall"]["base_ns"] == pytest.approx(  # type: ignore[operator]
        found["budget", "compute"]["new_ns"] - found["budget", "compute"]["base_ns"],  # type: ignore[operator]
        abs=20_000,
    )


def test_clocks_that_differ_are_told() -> None:
    clocks: list[dict[str, str | float | None]] = [
        {"phase": None, "base_hz": 1.98e9, "new_hz": 1.755e9},
        {"phase": "decode", "base_hz": 1.5e9, "new_hz": 1.505e9},
    ]
    (note,) = _clock_notes(clocks)
    assert note.text == "at most: 1,980 → 1,755 MHz, -11.4%"


def test_base_and_run_compare_by_the_gpus_that_have_work() -> None:
    """As `diff` does: another GPU of the machine that did nothing is no obstacle."""
    devices = [{"name": "H100", "has_work": True}, {"name": "T4", "has_work": False}]

    assert _subject({"trace": {"devices": devices}}) == Subject(gpu="H100")
    assert _subject({"trace": {"devices": [{"name": "H100"}]}}) == Subject(gpu="H100")


def waiting_steps(path: Path, *, clock_mhz: int, seed: int) -> Path:
    """Forty decode steps that wait for their kernels, whose cycles are equal, and then run 0.5 ms of host code."""
    random, trace = Random(seed), TraceBuilder().gpu(clock_hz=clock_mhz * 10**6)
    main, now = trace.process().thread(), 0
    for _ in range(40):
        gemm, attention = (round(cycles * 1_000 * random.gauss(1, 0.01) / clock_mhz) for cycles in (1_200_000, 400_000))
        host = round(500_000 * random.gauss(1, 0.01))
        end = now + 5_000 + gemm + attention
        main.push(now, end + host, "decode")
        main.launch(now + 1_000, gpu=(now + 5_000, now + 5_000 + gemm), name="nvjet_tst_64x8")
        main.launch(now + 3_000, gpu=(now + 5_000 + gemm, end), name="flash_fwd_kernel")
        main.call(now + 4_000, until=end, api="cudaStreamSynchronize_v3020")
        now = end + host + 10_000
    return trace.write(path)


def test_a_sweep_is_a_table(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [steps(seed=seed) for seed in range(3)]

    code, out, _ = run(capsys, "diff", *paths)

    assert code == 0
    assert [line.split()[-5] for line in out.splitlines() if "sqlite" in line] == ["40", "40", "40"]


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_other_formats(steps: Steps, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    trace = steps()

    code, out, _ = run(capsys, "diff", trace, trace, "--format", form)

    assert code == 0
    assert "flash_fwd_kernel" in out


def test_a_broken_rule_ends_with_1_and_a_line(steps: Steps, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = steps(), steps(slower=1.5, seed=2)
    (tmp_path / "rules").write_text("decode.step_busy > +5%  # of the base\ndecode.kernel_count != 80\n")

    code, _, err = run(capsys, "diff", base, new, "--rules", tmp_path / "rules")
    assert code == 1
    (first, second) = [line for line in err.splitlines() if line]
    assert first == "error: 1 of 2 rules broken"
    assert second.startswith("  decode.step_busy > +5%: decode.step_busy went from ")
    assert run(capsys, "diff", new, base, "--rules", tmp_path / "rules")[0] == 0


def test_the_gate_of_analyze(steps: Steps, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, base = steps(), tmp_path / "base.json"
    analyze = ("analyze", trace)
    assert run(capsys, *analyze, "-o", base)[0] == 0

    assert run(capsys, *analyze, "--fail-if", "decode.step_wall > +1%", "--base", base)[0] == 0
    assert run(capsys, *analyze, "--fail-if", "totals.kernel_count > 79")[0] == 1
    for arguments, code, said in (
        (("--fail-if", "decode.step_wall > +1%"), 2, "compares with a base, and there is none"),
        (("--fail-if", "decode.mfu_busy < 0.3"), 2, "decode.mfu_busy is not known"),
        (("--fail-if", "decode.step_wall >> 3"), 2, "\n  decode.step_wall >> 3\n                    ^\n"),
        (("--fail-if", "decode.step_wall > +1%", "--base", tmp_path / "gone.json"), 2, "cannot be read"),
        (("--fail-if", "decode.step_wall > +1%", "--base", trace), 2, "cannot be read"),
        (("--rules", tmp_path / "gone"), 2, "cannot be read"),
    ):
        found, _, err = run(capsys, *analyze, *arguments)
        assert (found, said in err) == (code, True), (arguments, err)


@pytest.mark.parametrize(
    "damage",
    [
        {"phases": ["x"]},
        {"trace": 3},
        {"phases": 4},
        {"model": [1]},
        {"requests": [5]},
        {"served": "x"},
        {"requests": [{"ttft_p50_ns": "x"}]},
        {"trace": {"duration_ns": "x"}},
        {"trace": {"duration_ns": float("nan")}},
        {"trace": {"duration_ns": 10**400}},
    ],
)
def test_a_damaged_base_is_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    (tmp_path / "base.json").write_text(json.dumps({"schema": "llmperf.report/1", **damage}))

    with pytest.raises(UsageError, match="is damaged"):
        read_base(tmp_path / "base.json")


def test_a_read_only_file_system_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(UsageError, match="Read-only file system"), output_file(tmp_path / "x", force=False):
        pass


def test_a_base_of_another_gpu_is_refused(steps: Steps, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, trace = tmp_path / "base.json", steps(gpu="NVIDIA H200")
    assert run(capsys, "analyze", steps(), "-o", base)[0] == 0
    analyze = ("analyze", trace, "--base", base, "--fail-if")

    code, _, err = run(capsys, *analyze, "decode.step_busy > +50%")
    assert code == 2
    assert "do not compare: GPU NVIDIA H100 80GB HBM3 against NVIDIA H200" in err
    assert run(capsys, *analyze, "decode.step_busy > 1s")[0] == 0  # no comparison

    report = json.loads(base.read_text())
    report["trace"]["devices"][0]["name"] = "NVIDIA H200"
    report["model"] = {"name": "llama", "params": 7, "dtype": "bf16"}  # only one of both knows it
    report["phases"][0]["shapes"] = []
    base.write_text(json.dumps(report))
    assert run(capsys, *analyze, "decode.step_busy > +50%")[0] == 0


def decoding(path: Path, *, as_graph: str | None = None) -> Path:
    """Ten decode steps of 1 ms with four products of 200 µs, 20 µs apart; `as_graph`: 'node' or 'whole'."""
    trace = TraceBuilder(lazy=False).gpu()
    main = trace.process().thread()
    for step in range(10):
        at = step * 1_100_000
        main.push(at, at + 1_000_000, "decode")
        spans = [(at + 20_000 + n * 220_000 + step, at + 220_000 + n * 220_000) for n in range(4)]
        if as_graph == "whole":
            main.graph_launch(at + 10, gpu=(spans[0][0], spans[-1][1]))
        elif as_graph == "node":
            main.graph_launch(at + 10, nodes=spans)
        else:
            for number, span in enumerate(spans):
                main.launch(at + 10 + number * 5, gpu=span, name=f"node{number}")
    return trace.write(path)


@pytest.mark.parametrize("form", ["table", "json"])
def test_kernels_of_whole_graphs_are_not_gone(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All kernels had `changed` to 0 ms, for a graph that is recorded as a whole has none."""
    paths = {how: decoding(tmp_path / f"{how}.sqlite", as_graph=how) for how in ("whole", "node")}
    eager = decoding(tmp_path / "eager.sqlite")

    code, out, err = run(capsys, "diff", paths["node"], paths["whole"], "--format", form)
    assert code == 0, err
    if form == "table":
        assert "CUDA graphs were recorded as a whole in" in out
        assert "whole.sqlite` alone" in " ".join(out.split())
        assert "node1" not in out
        return
    found = json.loads(out)
    (caveat,) = found["caveats"]
    assert caveat.startswith("decode: CUDA graphs were recorded as a whole")
    assert {one["kind"] for one in found["changes"]} == {"time", "budget"}
    # 800 µs of kernels and three gaps of 20 µs, less a few ns
    busy = next(one for one in found["changes"] if one["name"] == "GPU busy")
    assert (busy["base_ns"], busy["new_ns"]) == (pytest.approx(800_000, rel=1e-4), pytest.approx(860_000, rel=1e-4))

    code, out, err = run(capsys, "diff", eager, paths["node"], "--format", form)
    found = json.loads(out)
    assert found["caveats"] == []
    assert {one["name"] for one in found["changes"] if one["kind"] == "kernel"} == {f"node{n}" for n in range(4)}


def test_recordings_of_two_profilers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nsys = decoding(tmp_path / "a.sqlite")
    torch = from_export(nsys, tmp_path / "b.json")

    code, out, err = run(capsys, "diff", nsys, torch, "--format", "json", "--force-compare")

    assert code == 0, err
    (caveat,) = json.loads(out)["caveats"]
    assert caveat.startswith(f"nsys recorded `{nsys}`, and torch.profiler `{torch}`: each takes time of the host")
    assert all(
        one["change"] == pytest.approx(0, abs=1e-3) for one in json.loads(out)["changes"] if one["kind"] == "kernel"
    )


def test_a_gate_tells_what_makes_its_base_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `diff` does: a rule about a change held, or did not, for another recorder or for graphs as a whole."""
    node = decoding(tmp_path / "node.sqlite", as_graph="node")
    whole = decoding(tmp_path / "whole.sqlite", as_graph="whole")
    base, torch = tmp_path / "base.json", from_export(node, tmp_path / "torch.json")
    assert run(capsys, "analyze", node, "-o", base)[0] == 0

    def warned(trace: Path, rule: str) -> list[str]:
        _, _, err = run(capsys, "analyze", trace, "--base", base, "--fail-if", rule)
        return [line for line in err.splitlines() if line.startswith("warning: ")]

    (of_graphs,) = warned(whole, "decode.median_busy > +50%")
    assert of_graphs.startswith("warning: decode: CUDA graphs were recorded as a whole in this run alone; their")
    (of_recorders,) = warned(torch, "decode.median_busy > +50%")
    assert of_recorders.startswith("warning: nsys recorded the base, and torch.profiler this run: each takes time of")
    assert warned(node, "decode.median_busy > +50%") == []
    assert warned(whole, "decode.median_busy > 1s") == []  # no comparison


def training(folder: Path, name: str, *, wait: int, micro_batches: int = 1) -> Path:
    """Eight steps: a wait for input, and passes of 20, 40 and 10 ms."""
    trace, at = TraceBuilder().gpu(), 0
    main = trace.process().thread()
    for _ in range(8):
        at += wait * MS
        for part, length in [*[("forward", 20), ("backward", 40)] * micro_batches, ("optimizer", 10)]:
            end = at + length * MS
            main.push(at, end, part).launch(at + 2, gpu=(at + MS, end - MS), name=part)
            at = end
    return trace.write(folder / f"{name}.sqlite")


def test_steps_of_training_that_wait_longer_have_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Passes are the same: what lies between them is in no phase."""
    base, new = (training(tmp_path, name, wait=wait) for name, wait in (("base", 5), ("new", 50)))

    code, out, _ = run(capsys, "diff", base, new, "--format", "json", "--no-cache")

    assert code == 0
    changed = [one for one in json.loads(out)["changes"] if one["verdict"] == "changed"]
    found = {(one["phase"], one["name"]): (one["base_ns"], one["new_ns"]) for one in changed}
    assert found == {
        ("training step", "wall"): (75 * MS, 120 * MS),
        ("training step", "before its first pass"): (5 * MS, 50 * MS),
    }


def test_the_first_step_of_each_recording_does_not_show_its_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two recordings of a worker, whose steps wait for 6 ms: of the first one of each nobody knows it."""
    for cycle in range(2):
        trace = KinetoTrace(distributedInfo={"backend": "nccl", "rank": 0, "world_size": 1})
        for at in range(5_000 * cycle, 5_000 * cycle + 400, 100):
            for name, start, end in (("forward", 6, 35), ("backward", 35, 90), ("optimizer", 90, 100)):
                trace.annotation(name, (at + start) * MS, (at + end) * MS)
                trace.launch((at + start + 1) * MS, gpu=((at + start + 2) * MS, (at + end) * MS))
        trace.write(tmp_path / f"host_1.{1000 + cycle}.pt.trace.json")

    _, out, _ = run(capsys, "diff", tmp_path, tmp_path, "--format", "json", "--no-cache")

    of_steps = [one for one in json.loads(out)["changes"] if one["phase"] == "training step"]
    (wait,) = [one for one in of_steps if one["name"] == "before its first pass"]
    assert (wait["base_ns"], wait["base_occurrences"]) == (6 * MS, 6)


def test_steps_of_more_micro_batches_have_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = (training(tmp_path, name, wait=5, micro_batches=each) for name, each in (("base", 1), ("new", 4)))

    _, out, _ = run(capsys, "diff", base, new, "--no-cache")

    assert "nothing changed" not in out
    assert "training step (no shape), per occurrence" in out
