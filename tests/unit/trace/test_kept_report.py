"""A kept report is the one that the analysis made, to the byte, and whatever changes a report has another kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import Model
from nsys_pipeline.records import ModelInfo, Report
from nsys_pipeline.rules.phases import PhaseRule
from nsys_pipeline.trace import Trace, TraceOptions, cache, find_trace
from nsys_pipeline.trace.kept_report import KeptReport
from nsys_pipeline.trace.window import Window
from tests.cli.run import run
from tests.support import real_traces
from tests.support.small_trace import small_trace

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 100,
}  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return small_trace().write(tmp_path / "trace.sqlite")


@pytest.fixture
def cached(tmp_path: Path) -> TraceOptions:
    return TraceOptions(cache_dir=tmp_path / "cache")


def kept(path: Path, opening: TraceOptions, options: AnalysisOptions | None = None) -> KeptReport:
    with find_trace(path, opening, begins=False) as found:
        return KeptReport(found, options or AnalysisOptions())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made(small_trace().write(tmp_path_factory.mktemp("report") / "trace.sqlite"), TraceOptions(use_cache=False))


def made(path: Path, opening: TraceOptions) -> Report:
    with find_trace(path, opening) as found, Trace(found) as opened:
        return analyze(opened)


@pytest.mark.parametrize("name", ["h100_train", "h200x2_auto_torchrun"])
def test_what_is_kept_reads_back_as_it_was(name: str, cached: TraceOptions) -> None:
    path = real_traces.TRACES / f"{name}.sqlite.xz"
    report = made(path, TraceOptions())

    kept(path, cached).write(report)

    again = kept(path, cached).read()
    assert again is not None
    assert repr(again) == repr(report)


@pytest.mark.parametrize("value", [(1, 2), float("nan"), {1: 2}, Path("x")], ids=repr)
def test_a_report_that_would_read_back_otherwise_is_not_kept(
    trace: Path, cached: TraceOptions, report: Report, value: object
) -> None:
    kept(trace, cached).write(attrs.evolve(report, windows_ns={0: value}))  # type: ignore[dict-item]

    assert kept(trace, cached).read() is None


def test_a_convention_of_several_types_reads_back_as_it_was(trace: Path, cached: TraceOptions, report: Report) -> None:
    model = ModelInfo(
        name="vlm", params=3, active_params=2, dtype="bf16", products=["bf16"], label="exact", not_counted=[], notes=[],
        routing=None, convention={"attention": "exact", "tp": 2, "images": [[4, 4], [6, 10]], "audio_frames": [30]},
    )  # fmt: skip

    kept(trace, cached).write(attrs.evolve(report, model=model))

    again = kept(trace, cached).read()
    assert again is not None
    assert again.model == model


def _run_json(trace: Path) -> None:
    (trace.parent / "run.json").write_text("{}")


def _report(trace: Path) -> None:
    trace.with_suffix(".nsys-rep").write_bytes(b"")


def _content(trace: Path) -> None:
    os.utime(trace)


@pytest.mark.parametrize("change", [_run_json, _report, _content])
def test_another_file_is_another_report(
    trace: Path, cached: TraceOptions, report: Report, change: Callable[[Path], None]
) -> None:
    kept(trace, cached).write(report)
    assert kept(trace, cached).read() is not None

    change(trace)

    assert kept(trace, cached).read() is None


@pytest.mark.parametrize(
    "options",
    [
        AnalysisOptions(model=Model.from_config(CONFIG, "one")),
        AnalysisOptions(model=Model.from_config(CONFIG | {"hidden_size": 128}, "one")),
        AnalysisOptions(model=Model.from_config(CONFIG, "one", beside=["adapter"])),
        AnalysisOptions(shapes=(RequestShape(1, 8),)),
        AnalysisOptions(peaks={"bf16": 1e15}),
        AnalysisOptions(top_kernels=6),
        AnalysisOptions(keep_cold=True),
    ],
)
def test_other_options_are_another_report(
    trace: Path, cached: TraceOptions, report: Report, options: AnalysisOptions
) -> None:
    kept(trace, cached).write(report)
    kept(trace, cached, AnalysisOptions(model=Model.from_config(CONFIG, "another"))).write(report)

    assert kept(trace, cached, options).read() is None


def test_another_way_to_open_it_and_other_code_are_another_report(
    trace: Path, cached: TraceOptions, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(trace, cached).write(report)

    for changes in (
        {"is_strict": True},
        {"infers": True},
        {"phase_rules": (PhaseRule.from_option("all=request"),)},
        {"window": Window.parse(skip=None, steps=None, from_s=0.1, to_s=None)},
        {"use_cache": False},
    ):
        assert kept(trace, attrs.evolve(cached, **changes)).read() is None
    assert kept(trace, attrs.evolve(cached, memory_limit="1GB")).read() is not None
    monkeypatch.setattr(cache, "code_fingerprint", lambda: "another version")
    assert kept(trace, cached).read() is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"trace": 1}', '{"trace": {"path": "x"}}', "null"])
def test_damage_is_none(trace: Path, cached: TraceOptions, report: Report, damage: str) -> None:
    kept(trace, cached).write(report)
    assert cached.cache_dir
    (entry,) = (cached.cache_dir / "reports").iterdir()
    entry.write_text(damage)

    assert kept(trace, cached).read() is None
    kept(trace, cached).write(report)
    assert kept(trace, cached).read() == report


def test_the_command_says_the_same_again(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMPERF_CACHE_DIR", str(tmp_path / "cache"))
    first = [run(capsys, "analyze", trace, "--format", kind) for kind in ("json", "table")]

    with monkeypatch.context() as patch:
        patch.setattr("nsys_pipeline.analyze.analyze", None)  # nobody asks
        again = [run(capsys, "analyze", trace, "--format", kind) for kind in ("json", "table")]

    assert again == first
    assert json.loads(first[0][1])["schema"] == "llmperf.report/1"
