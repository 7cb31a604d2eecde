"""The script that captures on GPUs, as far as it can be tried without one: nothing may go wrong there for a typo."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from scripts import gpu_captures
from tests.cli.run import run
from tests.unit.capture.fake_nsys import fake_nsys

HELP = "\t--gpu-metrics-devices=\n\t--trace-fork-before-exec=\n"


@pytest.mark.parametrize("gpus", [1, 2])
def test_every_capture_is_a_command_that_llmperf_takes(
    gpus: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nsys = fake_nsys(tmp_path, profile_help=HELP)
    planned = gpu_captures.captures("llama-3.2-1b", gpus)
    for name, arguments in planned.items():
        code, out, err = run(capsys, "capture", "--dry-run", "--nsys", nsys, *arguments)
        assert (code, err) == (0, ""), name
        assert " profile " in out
    expected = {1: {"eager", "flash2", "flash4"}, 2: {"data-parallel", "tensor-parallel", "tensor-parallel-ranks"}}
    assert set(planned) >= expected[gpus]


@pytest.mark.parametrize("variant", [name for name, extra in gpu_captures.OVERHEAD.items() if extra is not None])
def test_every_variant_of_the_overhead_is_one(variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = gpu_captures.OVERHEAD[variant]
    assert extra is not None
    nsys = fake_nsys(tmp_path, profile_help=HELP)
    code, _, err = run(capsys, "capture", "--dry-run", "--nsys", nsys, "--model", "llama-3.2-1b", *extra)
    assert (code, err) == (0, "")


def test_overhead_takes_turns_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given three processes for each variant, nsys costing a quarter, and one process that fails
    order: list[str] = []

    def measure(_model: str, _work: Path, variant: str, extra: list[str] | None) -> dict[str, object]:
        order.append(variant)
        if len(order) == 2:
            return {}
        rate = 100.0 + len(order) // 3 if extra is None else 75.0
        return {"tokens_per_s": {"mean": rate}, "tpot_s": {"mean": 0.01}}

    monkeypatch.setattr(gpu_captures, "_measure", measure)
    lines = gpu_captures._overhead("m", 3, tmp_path, ("eager",), time.monotonic() + 60)
    assert order == ["eager, no nsys", "eager, defaults", "eager, --layers"] * 3
    assert lines[4] == "| eager, no nsys | 3 | 101.0 | 1.0 | 10.000 |  |"
    assert lines[5] == "| eager, defaults | 2 | 75.0 | 0.0 | 10.000 | -25.7 % |"

    # when there is no time, nothing is begun and nothing is made up
    order.clear()
    lines = gpu_captures._overhead("m", 3, tmp_path, ("graphs",), time.monotonic() - 1)
    assert order == []
    assert lines[4] == "| graphs, no nsys | 0 |  |  |  |  |"


def test_the_bare_workload_runs_what_the_captured_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given what the script runs without nsys
    from nsys_pipeline.workload.options import WorkloadOptions

    seen: list[list[str]] = []

    def remember(argv: list[str]) -> object:
        seen.append(argv)
        result = argv[argv.index("--result") + 1] if "--result" in argv else tmp_path / "overhead" / "workload.json"
        Path(result).parent.mkdir(exist_ok=True)
        Path(result).write_text(json.dumps({"shapes": [{"shape": "x"}]}))
        return type("Done", (), {"returncode": 0, "stdout": "", "stderr": ""})

    monkeypatch.setattr(gpu_captures, "_run", remember)
    for variant in ("graphs, no nsys", "graphs, --cuda-graph node"):
        assert gpu_captures._measure("llama-3.2-1b", tmp_path, variant, gpu_captures.OVERHEAD[variant]) == {
            "shape": "x"
        }
    bare = WorkloadOptions.parse(seen[0][3:])

    # then it is what `llmperf capture` would run, but for names of files and of the model
    nsys = fake_nsys(tmp_path / "bin", profile_help=HELP)
    _, out, _ = run(capsys, "capture", "--dry-run", "--nsys", nsys, *seen[1][4:])
    captured = WorkloadOptions.parse(out.split("nsys_pipeline.workload ")[1].split())
    import attrs

    same: dict[str, Any] = {"config": None, "name": None, "result": None}
    assert attrs.evolve(bare, **same) == attrs.evolve(captured, **same)


def test_what_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        gpu_captures.main(["--list", "--gpus", "1", "--only", "data-parallel"])
    assert stop.value.code == 2
    assert "with 1 GPU(s) there are eager" in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_captures.main(["--list", "--gpus", "2"]) == 0
    assert "data-parallel: llmperf capture --model llama-3.2-1b --repeats 3 --nproc 2" in capsys.readouterr().out
