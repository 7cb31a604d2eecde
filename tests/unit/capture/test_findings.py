"""Event counts and diagnostics become findings."""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import nsys_pipeline
from nsys_pipeline.capture import inspect_trace
from nsys_pipeline.capture.findings import said_by_markers
from nsys_pipeline.cli.capture import _REPORTED_BY_ANALYSIS
from nsys_pipeline.errors import TraceError
from nsys_pipeline.inputs.notices import CODES
from nsys_pipeline.nsys.diagnostics import _KNOWN
from nsys_pipeline.sqlmods import all_modules


def trace(
    path: Path,
    *,
    ranges: Iterable[str] = (),
    kernels: int = 0,
    diagnostics: Iterable[tuple[int, str]] = (),
    gpu: str | None = None,
) -> Path:
    connection = sqlite3.connect(path)
    if gpu is not None:
        connection.execute("CREATE TABLE TARGET_INFO_GPU (name TEXT)")
        connection.execute("INSERT INTO TARGET_INFO_GPU VALUES (?)", [gpu])
    connection.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
    connection.execute("CREATE TABLE NVTX_EVENTS (eventType INTEGER, text TEXT, textId INTEGER)")
    connection.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER)")
    connection.execute("CREATE TABLE DIAGNOSTIC_EVENT (severity INTEGER, text TEXT)")
    connection.execute("INSERT INTO NVTX_EVENTS VALUES (75, 'llmperf', NULL)")
    connection.executemany("INSERT INTO NVTX_EVENTS VALUES (59, ?, NULL)", [(name,) for name in ranges])
    connection.executemany("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?)", [(i,) for i in range(kernels)])
    connection.executemany("INSERT INTO DIAGNOSTIC_EVENT VALUES (?, ?)", list(diagnostics))
    connection.commit()
    connection.close()
    return path


def codes(path: Path, **options: Any) -> list[str]:
    return [finding.code for finding in inspect_trace(path, **options).findings]


def test_a_good_trace_has_no_findings(tmp_path: Path) -> None:
    good = trace(
        tmp_path / "t.sqlite",
        ranges=["request", "prefill", "decode", "decode"],
        kernels=3,
        diagnostics=[
            (1, "Number of CUDA events collected: 3."),
            (2, "No NVTX events collected. Does the process use NVTX?"),
            (2, "cuBLAS symbols found in libcublas.so.13 symbol table. No cuBLAS trace will be generated"),
        ],
    )
    contents = inspect_trace(good)
    assert contents.findings == ()
    assert contents.phases == {"request": 1, "prefill": 1, "decode": 2}
    assert (contents.counts["kernels"], contents.counts["nvtx_events"], contents.counts["memcpys"]) == (3, 4, 0)


def test_a_registered_name_counts(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.sqlite", kernels=1)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO StringIds VALUES (9, 'decode')")
    connection.execute("INSERT INTO NVTX_EVENTS VALUES (59, NULL, 9)")
    connection.commit()
    connection.close()
    assert inspect_trace(path).phases == {"decode": 1}


def test_what_is_absent(tmp_path: Path) -> None:
    assert codes(trace(tmp_path / "a.sqlite"), gpu_metrics=True) == ["no_gpu_work", "no_nvtx", "no_gpu_metrics"]
    # a domain alone is no range, and a request alone is no phase
    assert codes(trace(tmp_path / "b.sqlite", ranges=["request"], kernels=1)) == ["no_phases"]


@pytest.mark.parametrize(
    ("severity", "text", "code", "level"),
    [
        (2, "NVTX payload extension is incompatible. Provided ID 260 != 259.", "nvtx_incompatible", "error"),
        (2, "Installed CUDA driver version (13.0) is not supported by this build", "driver_newer", "warning"),
        (2, "Not all CUDA events might have been collected.", "events_incomplete", "info"),
        (2, "3 events were dropped", "events_dropped", "warning"),
        (3, "Error when processing events: NotInitializedException", "importer_mismatch", "warning"),
        (3, "Something new went wrong", "nsys_diagnostic", "error"),
        (2, "Something new to know", "nsys_diagnostic", "info"),
    ],
)
def test_what_nsys_said(tmp_path: Path, severity: int, text: str, code: str, level: str) -> None:
    path = trace(tmp_path / "t.sqlite", ranges=["decode"], kernels=1, diagnostics=[(severity, text), (severity, text)])
    found = inspect_trace(path).findings
    assert [(finding.code, finding.severity) for finding in found] == [(code, level)]
    assert text in found[0].message


NOT_STARTED = (2, "CUDA profiling might have not been started correctly.")


def test_the_reason_for_no_gpu_work_is_nsys_own_and_told_once(tmp_path: Path) -> None:
    (finding,) = inspect_trace(trace(tmp_path / "a.sqlite", ranges=["decode"], diagnostics=[NOT_STARTED])).findings
    # the trace lists no GPU
    assert "lists no GPU (nsys: CUDA profiling might have not been started correctly.)" in finding.message

    path = trace(tmp_path / "b.sqlite", ranges=["decode"], diagnostics=[NOT_STARTED], gpu="NVIDIA L4")
    (finding,) = inspect_trace(path).findings
    assert (finding.code, finding.severity) == ("no_gpu_work", "warning")
    assert "nsys: CUDA profiling might have not been started correctly." in finding.message
    assert "a machine with" not in str(finding.hint)


def test_helpers_without_a_gpu_are_no_news(tmp_path: Path) -> None:
    # torch.compile starts a hundred of them
    assert codes(trace(tmp_path / "t.sqlite", ranges=["decode"], kernels=1, diagnostics=[NOT_STARTED])) == []


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    path.write_text("no database" * 1000)
    with pytest.raises(TraceError, match="cannot read"):
        inspect_trace(path)


def test_what_the_markers_wrote_into_the_output(tmp_path: Path) -> None:
    log = tmp_path / "workload.log"
    log.write_text(
        "loading\n"
        "llmperf: transformers 9.1 is newer than 5.24\n"
        "[rank1]: llmperf: transformers 9.1 is newer than 5.24\n"
        "(EngineCore pid=7) llmperf: vllm 9 does not describe its steps\x1b[2J\n"
        "I ran llmperf: it was nice\n"
    )
    assert [(found.code, found.severity, found.message) for found in said_by_markers(log)] == [
        ("markers", "warning", "transformers 9.1 is newer than 5.24"),
        ("markers", "warning", "vllm 9 does not describe its steps\N{SYMBOL FOR ESCAPE}[2J"),
    ]
    assert said_by_markers(tmp_path / "none") == []


def test_captures_and_analyses_share_one_vocabulary() -> None:
    """Codes are written alike; those that both have are named in cli/capture.py; docs/findings.md has the others."""
    room = Path(nsys_pipeline.__file__).parent
    made = {
        call.args[0].value if isinstance(call.args[0], ast.Constant) else "rank_without_report"
        for path in (room / "capture").glob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Finding"
        if not isinstance(call.args[0], ast.Attribute)
    }
    meant = {one.code for one in _KNOWN}
    of_analysis = {module.relation for module in all_modules().values() if module.is_finding} | CODES.keys()
    text = (room.parent / "docs" / "findings.md").read_text()
    documented = {code for row in re.findall(r"^\| (`[^|]*) \|", text, re.M) for code in re.findall(r"`(\w+)`", row)}

    assert made & of_analysis == set(_REPORTED_BY_ANALYSIS)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", str(code)) for code in made | meant)
    assert documented - {"error", "warning", "info"} == (made | meant) - of_analysis
