"""What llmperf writes as JSON is what docs/schemas say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nsys_pipeline.capture.rundir import RUN_NAME
from tests.cli.run import run
from tests.support.fleet import analyze_here, steps_trace, write_fleet
from tests.support.real_traces import TRACES
from tests.support.trace_builder import TraceBuilder
from tests.unit.capture.fake_nsys import fake_nsys

ROOT = Path(__file__).resolve().parents[3]
SCHEMAS = ROOT / "docs" / "schemas"
DEMO = ROOT / "nsys_pipeline" / "demo" / "h100_llama_1b_graphs.sqlite.xz"


def strict(schema: Any) -> Any:
    """The schema, in which objects have no other keys: a reader may meet new ones, but our own tests may not."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "required" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def check(name: str, document: Any) -> None:
    schema = strict(json.loads((SCHEMAS / f"{name}-1.json").read_text(encoding="utf-8")))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    _, out, err = run(capsys, *arguments)
    assert out, err
    return json.loads(out)


@pytest.mark.parametrize("name", ["h100_cuda_graph_node", "h100_mixtral_small", "h200x2_tensor_parallel"])
def test_the_report_of_a_real_trace(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (trace,) = TRACES.glob(f"{name}.*xz")
    check("report", printed(capsys, "analyze", trace, "--format", "json"))


def test_the_report_of_a_trace_without_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = TraceBuilder().write(tmp_path / "empty.sqlite")
    check("report", printed(capsys, "analyze", trace, "--format", "json"))


def test_a_report_that_lacks_something_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = printed(capsys, "analyze", TraceBuilder().write(tmp_path / "empty.sqlite"), "--format", "json")
    for key in ("schema", "phases", "checks"):
        with pytest.raises(jsonschema.ValidationError):
            check("report", {name: value for name, value in report.items() if name != key})


def test_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    check("diff", printed(capsys, "diff", DEMO, DEMO, "--format", "json"))


def test_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = steps_trace().write(tmp_path / "a.sqlite")
    check("sweep", printed(capsys, "diff", trace, trace, trace, "--format", "json"))


def test_the_report_of_a_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_fleet(tmp_path / "in", ["a.sqlite"])
    (source / "broken.sqlite").write_bytes(b"no trace")
    analyze_here(source, tmp_path / "out")
    check("fleet-report", printed(capsys, "fleet", tmp_path / "out", "--format", "json"))


@pytest.mark.parametrize(
    "options", [(), ("--gpu", "H100 SXM"), ("--tp", "2", "--gpu", "H100 SXM"), ("--kv-dtype", "fp8")]
)
def test_flops(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("llama-3.2-1b", "mixtral-8x7b"):
        check("flops", printed(capsys, "flops", model, "--prompt-tokens", "8", *options, "--format", "json"))


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nsys = fake_nsys(tmp_path / "bin")
    run(capsys, "capture", "--nsys", nsys, "--no-preflight", "--no-analyze", "-o", "run", "--", "true")
    check("run", json.loads((tmp_path / "run" / RUN_NAME).read_text()))
