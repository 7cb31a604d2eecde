"""`capture --backend torch`: the built-in workloads recorded by torch.profiler on the CPU, without any nsys."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.e2e.conftest import TINY_LLAMA
from tests.e2e.run_llmperf import Finished, llmperf
from tests.e2e.test_vlm import pictures
from tests.support.tiny_vlms import DEEPSEEK_OCR2, QWEN

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("workload_extra")]


def capture(folder: Path, *options: str) -> Finished:
    """A capture into `run`; whatever looks for an nsys finds none."""
    return llmperf(
        "capture", "--backend", "torch", "--model", "config.json", "--device", "cpu", *options, "-o", "run",
        cwd=folder, LLMPERF_NSYS="/nonexistent/nsys",
    )  # fmt: skip


def test_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY_LLAMA), encoding="utf-8")
    options = ("--shape", "2x16+2", "--repeats", "1", "--ops", "--layers")

    done = capture(tmp_path, *options)

    assert done.code == 0, done.stderr
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert (run["backend"], run["nsys_version"], run["exit_status"]) == ("torch", None, 0)
    assert [one["file"] for one in run["traces"]] == ["trace.json.gz"]
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    phases = {phase["name"]: phase for phase in report["phases"]}
    counted = {name: (one["occurrences"], one["warmup_occurrences"], one["source"]) for name, one in phases.items()}
    # One request of warm-up, one that counts; a decode step for each new token.
    assert counted == {"prefill": (2, 1, "markers"), "decode": (4, 2, "markers")}
    assert report["model"]["name"] == run["name"]
    assert report["trace"]["recorder"] == "torch.profiler"
    assert all(check["passed"] for check in report["checks"])
    # Gate and up of both layers: 32 tokens of 64 by 128.
    rows = [row for row in report["torch_operators"] if row["phase"] == "prefill"]
    (gate,) = [row for row in rows if row["shapes"] == "[[32, 64], [64, 128]]"]
    assert (gate["calls"], gate["flops"]) == (4, 4 * 2 * 32 * 64 * 128)
    # Nothing ran on a GPU, and the report says so.
    assert report["totals"]["kernel_count"] == 0
    assert "no GPU work was recorded" in done.stdout


@pytest.mark.parametrize(
    ("config", "stages"),
    [(DEEPSEEK_OCR2, {"tower", "sam", "encoder", "projector", "rest"}), (QWEN, {"tower", "merger", "rest"})],
    ids=["deepseek_ocr2", "qwen2_5_vl"],
)
def test_images(tmp_path: Path, config: dict[str, Any], stages: set[str]) -> None:
    """Image files, a broken one among them, through a model twice: stages, operators and repeats in the report."""
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    pictures(tmp_path / "images", page=(60, 90))
    options = ("--repeats", "2", "--warmup", "1", "--max-new-tokens", "1", "--ops")

    done = capture(tmp_path, "--workload", "vlm", "--input-dir", "images", *options)

    # The run goes on without the broken one, and says so.
    assert done.code == 0, done.stderr
    skipped = "1 of 2 images could not be read and were skipped: broken.png"
    assert skipped in " ".join(done.stdout.split())
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    (told,) = [one["message"] for one in report["findings"] if one["code"] == "images_skipped"]
    assert told.startswith(skipped)
    # Two requests that count, of a prefill and a decode step each. One of warm-up, and one more that counts experts.
    phases = {one["name"]: one for one in report["phases"]}
    assert all(one["warmup_occurrences"] in (1, 2) for one in phases.values())
    measured = {name: one["occurrences"] - one["warmup_occurrences"] for name, one in phases.items()}
    assert measured == {"prefill": 2, "decode": 2}
    rows = {row["stage"]: row for row in report["stages"]}
    assert set(rows) == stages
    # All of the prefill's FLOPs are those of the stages that no other holds.
    whole = [row["flops"] for row in rows.values() if row["parent"] is None]
    if not phases["prefill"]["cold_occurrences"]:
        assert sum(whole) == phases["prefill"]["flops"] > 0
    inner = [("prefill", stage) for stage in stages if stage != "rest"]
    repeated = {(row["phase"], row["stage"]): row["repeats"] + row["cold"] for row in report["repeats"]}
    assert repeated == dict.fromkeys([("prefill", None), ("decode", None), *inner], 2)
    assert all(row["mean_wall_ns"] > 0 for row in report["repeats"] if row["repeats"])
    # The LM head of each decode step that is not cold: one token of 32 by the vocabulary.
    decode = {row["shapes"]: row for row in report["torch_operators"] if row["phase"] == "decode"}
    head = decode["[[1, 32], [32, 300]]"]
    steps = 2 - phases["decode"]["cold_occurrences"]
    assert (head["calls"], head["flops"]) == (steps, steps * 2 * 32 * 300)
    assert "prefill" in {row["phase"] for row in report["torch_operators"]}


def test_a_workload_that_fails_leaves_its_words(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**TINY_LLAMA, "model_type": "no_such_model"}), encoding="utf-8")

    done = capture(tmp_path)

    assert done.code == 1
    assert "left no trace of torch.profiler" in done.stderr
    assert "no_such_model" in (tmp_path / "run" / "workload.log").read_text(encoding="utf-8")
    assert "error" in json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))


PROGRAM = """
import sys, threading
import torch
from transformers import LlamaConfig, LlamaForCausalLM

model = LlamaForCausalLM(LlamaConfig(**{config})).eval()
model.generate(torch.ones(1, 7, dtype=torch.long), max_new_tokens=2, do_sample=False)

def work():
    with torch.profiler.record_function("in a thread"):
        torch.ones(3, 5) @ torch.ones(5, 2)

thread = threading.Thread(target=work)
thread.start()
thread.join()
with torch.profiler.profile() as own:
    torch.ones(11, 13) @ torch.ones(13, 17)
assert any(event.name == "aten::mm" for event in own.events())
sys.exit(3)
"""


def test_a_program_of_somebody_else(tmp_path: Path) -> None:
    config = {key: value for key, value in TINY_LLAMA.items() if key not in ("model_type", "architectures")}
    (tmp_path / "program.py").write_text(PROGRAM.replace("{config}", repr(config)), encoding="utf-8")

    done = llmperf(
        "capture", "--backend", "torch", "--auto", "-o", "run", "--", sys.executable, "program.py",
        cwd=tmp_path, LLMPERF_NSYS="/nonexistent/nsys",
    )  # fmt: skip

    log = (tmp_path / "run" / "workload.log").read_text(encoding="utf-8")
    assert done.code == 3, done.stderr
    assert "llmperf: the program starts torch.profiler itself: the trace ends there" in log
    assert "sitecustomize" not in log
    with open_trace(tmp_path / "run", TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)
        shapes = {row.shapes for row in report.torch_operators}
        opened.build("views.operators")
        rows = opened.connection.execute("SELECT shapes FROM views.operators WHERE operator = 'aten::mm'").fetchall()
    counted = {phase.name: (phase.occurrences, phase.flops is not None) for phase in report.phases}
    assert (counted["prefill"], counted["decode"]) == ((1, True), (1, True))
    assert shapes
    # Every thread of the program is recorded, and nothing after it began to record itself.
    assert ("[[3, 5], [5, 2]]",) in rows
    assert ("[[11, 13], [13, 17]]",) not in rows


def test_a_program_without_torch_leaves_no_trace(tmp_path: Path) -> None:
    done = llmperf("capture", "--backend", "torch", "-o", "run", "--", sys.executable, "-c", "pass", cwd=tmp_path)

    assert done.code == 1
    assert "the workload ended with status 0 and left no trace of torch.profiler" in done.stderr
    assert "never imports torch" in done.stderr
