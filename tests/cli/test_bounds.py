"""Utilization that is at least or at most so much: every way out says it, and a gate is decided only if it can be."""

from __future__ import annotations

import io
import json
from pathlib import Path

import attrs
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.compare.fields import numbers
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import load_model
from nsys_pipeline.records import Report
from nsys_pipeline.report.diff import render_sweep
from nsys_pipeline.report.formats import ReportFormat, render_report
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.unit.analysis.test_images import trace

PREFILL = '"q":600,"kv":0,"b":1,"logits":1'
# LLaVA without its images is charged for less than ran; a prompt of unknown padding for more; both may be either.
CASES = {
    "least": ("llava-1.5-7b", f"{{{PREFILL}}}", "≥", "≤"),
    "most": ("llama-3.1-8b", f'{{{PREFILL},"unread":true}}', "≤", "≥"),
    "neither": ("llava-1.5-7b", f'{{{PREFILL},"unread":true}}', "~", "~"),
    "exact": ("llama-3.1-8b", f"{{{PREFILL}}}", "", ""),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, str, str]:
    """A trace, its model, the sign of its utilization, and that of what is above the speed of light."""
    model, mark, sign, turned = CASES[request.param]
    return trace(tmp_path, "prefill", mark=mark), model, sign, turned


def rendered(report: Report, form: ReportFormat) -> str:
    stream = io.StringIO()
    render_report(report, stream, form)
    return stream.getvalue()


def test_every_way_out_marks_a_bound_alike(case: tuple[Path, str, str, str]) -> None:
    path, model, sign, turned = case
    # One analysis for all formats: commands have tests of their own.
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, AnalysisOptions(model=load_model(model)))
        query = "SELECT is_lower_bound, is_upper_bound FROM views.phase_summary"
        (flags,) = opened.connection.execute(query).fetchall()
    (phase,) = json.loads(rendered(report, ReportFormat.json))["phases"]
    assert (phase["is_lower_bound"], phase["is_upper_bound"]) == (sign in ("≥", "~"), sign in ("≤", "~"))
    (shape,) = phase["shapes"]
    assert all(shape[name] == phase[name] for name in ("is_lower_bound", "is_upper_bound"))
    mfu = f"{100 * phase['mfu_busy']:.1f}"
    sol_ms = phase["sol_ratio"] * phase["measured_busy_ns"] / 1e6
    above_ms = phase["budget"]["compute_ns"] / 1e6 - sol_ms

    for form in (ReportFormat.table, ReportFormat.markdown, ReportFormat.html):
        words = rendered(report, form).replace("\\", "").replace("|", " ").replace("<", " ").replace(">", " ").split()
        assert {f"{sign}{mfu}", f"{sign}{sol_ms:.2f}", f"{turned}{above_ms:.2f}"} <= set(words), form
        for other in {"≥", "≤", "~", ""} - {sign}:
            assert f"{other}{mfu}" not in words, (form, other)

    assert flags == (phase["is_lower_bound"], phase["is_upper_bound"])
    stream, numbered = io.StringIO(), attrs.asdict(report)
    render_sweep([(str(path), numbered, numbers(numbered))] * 3, stream, ReportFormat.table)
    assert stream.getvalue().split().count(f"{sign}{mfu}") == 3


# In the kernel's 18 ms an H100 has an MFU of at least 0.441 of LLaVA's text, and of at most 0.476 of Llama 3.1 8B.
@pytest.mark.parametrize(
    ("name", "rule", "code", "said"),
    [
        ("least", "prefill.mfu_busy < 0.5", 2, "cannot be decided: prefill.mfu_busy is at least 0.441"),
        ("most", "prefill[1x600].mfu_busy < 0.5", 1, "prefill[1x600].mfu_busy is at most 0.47"),
    ],
)
def test_a_gate_on_a_bound(
    name: str, rule: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, mark, *_ = CASES[name]
    path = trace(tmp_path, "prefill", mark=mark)
    found, _, err = run(capsys, "analyze", path, "--model", model, "--fail-if", rule, "--format", "json", "--no-cache")
    assert found == code, err
    assert said in " ".join(err.split())


def test_a_change_of_what_is_off_by_the_same_is_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, mark, *_ = CASES["least"]
    path, base = trace(tmp_path, "prefill", mark=mark), tmp_path / "base.json"
    options = ("analyze", path, "--model", model, "--format", "json", "--no-cache")
    assert run(capsys, *options, "-o", base)[0] == 0
    gate = ("--base", base, "--fail-if", "prefill.mfu_busy < -5%")
    assert run(capsys, *options, *gate)[0] == 0

    # If the base is exact, the run may be better by any amount, and nobody knows by which.
    report = json.loads(base.read_text(encoding="utf-8"))
    report["phases"][0]["is_lower_bound"] = False
    report["phases"][0]["mfu_busy"] *= 1.1
    base.write_text(json.dumps(report), encoding="utf-8")
    code, _, err = run(capsys, *options, *gate)
    assert (code, "prefill.mfu_busy went from 0.48585 to at least 0.441" in err) == (2, True)


def test_what_is_not_counted_names_the_options_that_count_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trace(tmp_path, "prefill", mark=f"{{{PREFILL}}}")

    def hint(model: str) -> str | None:
        _, out, _ = run(capsys, "analyze", path, "--model", model, "--format", "json", "--no-cache")
        (found,) = [one for one in json.loads(out)["findings"] if one["code"] == "parts_not_counted"]
        return str(found["hint"]) if found["hint"] else None

    assert "--images N; or" in str(hint("llava-1.5-7b"))
    config = tmp_path / "config.json"
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 9, **heads}
    config.write_text(json.dumps({"model_type": "qwen2_5_vl", "text_config": text, "vision_config": {}}))
    assert "--images N --image-size HxW" in str(hint(str(config)))
    # No option has a tower counted that has no reading.
    other = {"model_type": "fast_vlm", "text_config": {**text, "model_type": "qwen2"}}
    config.write_text(json.dumps({**other, "vision_config": {"architecture": "fastvit_sa12"}}))
    assert hint(str(config)) is None
