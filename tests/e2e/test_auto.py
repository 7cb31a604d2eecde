"""Unmodified programs under `--auto` and a real nsys: the phases, the shapes, and that nothing is broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nsys_pipeline.nsys import Nsys
from tests.e2e.markers_in import Range, llmperf_events
from tests.e2e.run_llmperf import PROGRAMS, llmperf, told

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("workload_extra")]


STAGES = ("vision.tower", "vision.encoder", "vision.projector")


def said(tokens: tuple[int, ...]) -> str:
    """One number if those of all sequences are equal."""
    return ",".join(map(str, tokens if len(set(tokens)) > 1 else tokens[:1]))


def passes(ranges: list[Range]) -> list[str]:
    """Each pass as `phase batch×new+cached`; without the numbers where the program's marks give none; and stages."""
    lines = []
    for each in ranges:
        if each.name != "request":
            shape = "".join(
                f" {len(step.q_tokens)}x{said(step.q_tokens)}+{said(step.kv_tokens)}, {step.logits} logits"
                for step in each.steps
                if step.q_tokens
            )
            shape += "".join(f" of {list(step.images)}" for step in each.steps if step.images)
            lines.append(f"{each.name}{shape}")
    return lines


def decode_steps(batch: int, first: int, count: int) -> list[str]:
    return [f"decode {batch}x1+{cached}, {batch} logits" for cached in range(first, first + count)]


# The first of three prompts of 12 tokens has five of padding.
PADDED = ["prefill 3x7,12,12+0, 3 logits", "decode 3x1+7,12,12, 3 logits", "decode 3x1+8,13,13, 3 logits"]
BEAMS = [
    "prefill 6x7,7,12,12,12,12+0, 6 logits",
    "decode 6x1+7,7,12,12,12,12, 6 logits",
    "decode 6x1+8,8,13,13,13,13, 6 logits",
]


@pytest.mark.parametrize(
    ("program", "expected", "described"),
    [
        ("batched", [*PADDED, *BEAMS, *PADDED, *PADDED], "llama"),
        (
            "training",
            [*["forward 2x16+0, 32 logits", "backward", "optimizer"] * 2, "prefill 2x16+0, 32 logits"],
            "llama",
        ),
        (
            "encoder_decoder",
            [
                *["encoder 2x11+0, 0 logits", "prefill 2x1+0, 2 logits", "decode 2x1+1, 2 logits"],
                "decode 2x1+2, 2 logits",
            ],
            "t5",
        ),
        ("vision", ["vision of [(2, 2)]", *STAGES, "prefill 1x12+0, 1 logits", *decode_steps(1, 12, 2)], "llava"),
        # passes of models that the run mark does not describe have no shape: their cost is not that model's
        (
            "two_models",
            ["prefill 1x5+0, 1 logits", *decode_steps(1, 5, 1), "bert.forward", "gpt2.prefill", "gpt2.decode"],
            "llama",
        ),
    ],
)
def test_phases_and_shapes(nsys: Nsys, tmp_path: Path, program: str, expected: list[str], described: str) -> None:
    command = (sys.executable, PROGRAMS / "auto" / f"{program}.py")
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, "")
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    found = passes(ranges)
    if program == "vision" and not found[0].startswith("vision"):
        # transformers before 5.20 runs the encoder inside the prefill
        expected = [f"{expected[4]} of [(2, 2)]", *STAGES, *expected[5:]]
    assert found == expected
    assert [run["model"]["model_type"] for run in runs] == [described]


def test_families_do_what_is_said_of_them(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, PROGRAMS / "auto" / "families.py", tmp_path)
    done = llmperf("capture", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert done.code == 0, done.stderr
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    of_process: dict[int, list[Range]] = {}
    for each in ranges:
        if each.name != "request":
            of_process.setdefault(each.thread >> 24, []).append(each)
    # In order of start, as the models ran; what each wrote down is from its attention, not from its cache.
    families = [run["model"]["model_type"] for run in runs]
    assert {"llama", "mixtral", "gpt2", "t5"} <= set(families)
    for family, found in zip(families, of_process.values(), strict=True):
        shapes = [
            f"{len(step.q_tokens)}x{step.q_tokens[0]}+{step.kv_tokens[0]}" for each in found for step in each.steps
        ]
        assert shapes == json.loads((tmp_path / f"{family}.json").read_text())
        request = [*["encoder"] * (family == "t5"), "prefill", *["decode"] * 4]
        assert [each.name for each in found] == request * 2
    # the report, too: as many steps as there were, and no time that cannot be
    report = json.loads(llmperf("analyze", "run", "--format", "json", cwd=tmp_path).stdout)
    counted = {phase["name"]: phase["occurrences"] for phase in report["phases"]}
    assert (counted["prefill"], counted["decode"]) == (2 * len(families), 8 * len(families))
    assert all(check["passed"] for check in report["checks"])


def test_speculative_decoding(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, PROGRAMS / "auto" / "assisted.py")
    done = llmperf("capture", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert done.code == 0, done.stderr
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    assert {each.name for each in ranges} >= {"request", "prefill", "draft", "verify"}
    # the run is that of the large model, whatever ran first, and only its passes have shapes
    assert [run["model"]["num_hidden_layers"] for run in runs] == [2]
    assert not any(each.steps for each in ranges if each.name == "draft")
    assert all(step.q_tokens[0] > 1 for each in ranges if each.name == "verify" for step in each.steps)
    # how many guesses were kept is not in the trace, so there is no time per token
    request_line = next(line for line in done.stdout.splitlines() if line.startswith("1x10 "))
    assert request_line.split()[-1] == "–"


def test_a_transformers_of_tomorrow_is_told_once(nsys: Nsys, tmp_path: Path) -> None:
    # a stand-in that is found before the real one
    package = tmp_path / "transformers"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "99.1.0"\n')
    (package / "modeling_utils.py").write_text("class PreTrainedModel:\n    def __call__(self): ...\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import subprocess, sys, transformers.modeling_utils\n"
        "if len(sys.argv) == 1: subprocess.run([sys.executable, __file__, 'child'], check=True)\n"
    )
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", sys.executable, program, cwd=tmp_path)
    assert done.code == 0
    assert done.stderr.count("warning: transformers 99.1.0 is newer than ") == 1
    assert (tmp_path / "run" / "workload.log").read_text().count("transformers 99.1.0") == 1


def test_processes(nsys: Nsys, tmp_path: Path) -> None:
    command = (sys.executable, PROGRAMS / "auto" / "processes.py")
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (9, "")
    assert told(tmp_path / "run", "fork: 3", "other: 4") == ["fork: 3", "other: 4"]
    ranges, runs = llmperf_events(tmp_path / "run" / "trace.sqlite")
    assert passes(ranges) == ["prefill 1x4+0, 4 logits", *["prefill 2x10+0, 20 logits"] * 2]
    assert len({each.thread >> 24 for each in ranges}) == 2
    assert len(runs) == 2


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_flags_of_python_that_switch_it_off(nsys: Nsys, tmp_path: Path, flag: str) -> None:
    command = (sys.executable, flag, "-c", "import sys; sys.exit(5)")
    done = llmperf("capture", "--no-analyze", "--auto", "-o", "run", "--", *command, cwd=tmp_path)
    assert (done.code, done.stdout) == (5, "")
    assert "under Python's -I, -E and -S" in done.stderr


def test_a_sitecustomize_that_fails_and_one_that_is_imported(nsys: Nsys, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("answer = 42\nraise RuntimeError('theirs')\n")
    program = "import sitecustomize; print(sitecustomize.answer)"
    done = llmperf(
        *("capture", "--no-analyze", "--auto", "-o", "run", "--", sys.executable, "-c", program),
        cwd=tmp_path,
        PYTHONPATH=f"{Path(__file__).parents[2]}:{tmp_path}",
    )
    assert done.code == 0
    lines = ("42", "Error in sitecustomize: RuntimeError('theirs')")
    assert sorted(told(tmp_path / "run", *lines)) == sorted(lines)
