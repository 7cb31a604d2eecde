"""`llmperf analyze` on real traces: the JSON of Contract 3, the table at any width, and the demo."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from nsys_pipeline.cli.demo import DEMO_TRACE
from nsys_pipeline.records import Report
from nsys_pipeline.report.formats import render_report
from tests.cli.run import run
from tests.support.real_traces import NAMES, SUFFIX, TRACES, report_of
from tests.support.trace_builder import TraceBuilder

KEYS: dict[str, tuple[str, ...]] = {
    "": ("schema", "trace", "totals", "phases", "unattributed", "kernels", "checks", "warnings"),
    "trace": ("path", "nsys_version", "schema_version", "duration_ns", "processes", "devices"),
    "totals": (
        *("kernel_count", "kernel_time_ns", "memop_count", "memop_time_ns", "graph_launch_count", "graph_time_ns"),
    ),
    "unattributed": (
        *("kernel_count", "kernel_time_ns", "memop_count", "graph_launch_count", "graph_time_ns", "reasons"),
    ),
}
ROW_KEYS: dict[str, tuple[str, ...]] = {
    "phases": (
        *(
            "name",
            "occurrences",
            "warmup_occurrences",
            "cold_occurrences",
            "kernel_count",
            "kernel_time_ns",
            "memop_count",
        ),
        *("graph_launch_count", "graph_time_ns", "wall_ns", "gpu_span_ns", "gpu_busy_ns", "tokens", "flops", "bytes"),
        *("peak_flops_per_s", "mfu_wall", "mfu_busy", "mbu_wall", "mbu_busy", "sol_ns", "bound", "devices"),
    ),
    "kernels": ("phase", "name", "family", "count", "time_ns"),
    "checks": ("name", "passed", "detail"),
    "warnings": ("code", "message", "hint"),
}
DEVICE_KEYS = ("id", "name", "sm_count", "memory_bandwidth_bytes_per_s")
PHASE_DEVICE_KEYS = ("device_id", "process_id", "kernel_count", "kernel_time_ns", "gpu_busy_ns")
SUMMED = ("kernel_count", "kernel_time_ns", "memop_count", "graph_launch_count", "graph_time_ns")


def analyzed(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    # Real traces are prepared once for all tests that ask them.
    cache = () if Path(str(argv[0])).parent == TRACES else ("--no-cache",)
    code, out, err = run(capsys, "analyze", *argv, "--format", "json", *cache)
    assert (code, err) == (0, "")
    report: dict[str, Any] = json.loads(out)
    return report


@pytest.mark.parametrize("name", NAMES)
def test_the_report_of_a_real_trace(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = TRACES / f"{name}{SUFFIX}"

    code, out, err = run(capsys, "analyze", path, "--format", "json")
    assert (code, err) == (0, "")
    json_keeps_its_contract_and_adds_up(json.loads(out))

    report = report_of(name)
    for width in (40, 80, 160):
        table_is_whole(report, width)


def json_keeps_its_contract_and_adds_up(report: dict[str, Any]) -> None:
    assert report["schema"] == "llmperf.report/1"
    for key, names in KEYS.items():
        assert set(names) <= set(report[key] if key else report), key
    for key, names in ROW_KEYS.items():
        assert all(set(names) <= set(row) for row in report[key]), key
    assert all(set(DEVICE_KEYS) <= set(device) for device in report["trace"]["devices"])
    assert all(set(PHASE_DEVICE_KEYS) <= set(row) for phase in report["phases"] for row in phase["devices"])
    assert report["phases"]
    assert all(check["passed"] for check in report["checks"])
    for key in SUMMED:
        parts = sum(phase[key] for phase in report["phases"]) + report["unattributed"][key]
        assert parts == report["totals"][key], key
    for phase in report["phases"]:
        for key in ("kernel_count", "kernel_time_ns", "gpu_busy_ns"):
            assert sum(row[key] for row in phase["devices"]) == phase[key]


def table_is_whole(report: Report, width: int) -> None:
    """No number is cut, no line ends in blanks, and from 80 columns on every line fits."""
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        render_report(report, stream)
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    if width >= 80:
        assert [line for line in lines if len(line) > width] == []
    start = next(index for index, line in enumerate(lines) if line.startswith("phases, "))
    rows = {line.split()[0]: line.split() for line in lines[start : lines.index("", start)]}
    for phase in report.phases:
        cells = rows[phase.name]
        assert cells[1] == f"{phase.counted_occurrences:,}"
        assert f"{phase.kernel_count - phase.warmup_kernel_count - phase.cold_kernel_count:,}" in [
            cell.split("+")[0] for cell in cells
        ]
    start = next(index for index, line in enumerate(lines) if line.startswith("top kernels, "))
    counts = [line.split()[-3] for line in lines[start : lines.index("", start)] if len(line.split()) > 3]
    # One that ran in warm-up alone has no row.
    measured = [f"{kernel.measured_count:,}" for kernel in report.kernels if kernel.measured_count]
    assert measured == counts[-len(measured) :]


def test_what_is_not_known_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    report = analyzed(capsys, TRACES / f"h100_llama1b{SUFFIX}")

    for phase in report["phases"]:
        for key in ("tokens", "flops", "bytes", "mfu_wall", "mfu_busy", "mbu_wall", "mbu_busy", "sol_ns"):
            assert phase[key] is None
    assert {notice["code"] for notice in report["warnings"]} == {"no_model", "cold_first_occurrence"}


def test_mfu_of_a_foreign_trace_whose_shapes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    shapes = ("--shape", "1x128+4", "--shape", "1x2048+32", "--shape", "8x512+32", "--shape", "1x128+64")
    report = analyzed(capsys, TRACES / f"h100_llama1b{SUFFIX}", "--model", "llama-3.2-1b", "--keep-cold", *shapes)

    prefill, decode = report["phases"]
    assert prefill["tokens"] == 128 + 2048 + 8 * 512 + 128
    assert decode["tokens"] == 4 + 32 + 8 * 32 + 64
    for phase in (prefill, decode):
        assert 0 < phase["mfu_wall"] < phase["mfu_busy"] < 1
        assert 0 < phase["mbu_wall"] < phase["mbu_busy"] < 1
        # Of its definition: model FLOPs / peak / time.
        again = phase["flops"] / phase["peak_flops_per_s"] / (phase["gpu_busy_ns"] / 1e9)
        assert phase["mfu_busy"] == pytest.approx(again)
    # The first request is shorter and was meant to warm up, but no range says so; --keep-cold counts it.
    assert {notice["code"] for notice in report["warnings"]} == {"cold_first_occurrence"}


def test_markdown_holds_the_same_counts(capsys: pytest.CaptureFixture[str]) -> None:
    path = TRACES / f"h100_gpu_metrics{SUFFIX}"
    report = analyzed(capsys, path)

    code, out, _ = run(capsys, "analyze", path, "--format", "markdown", "--no-cache")

    assert code == 0
    for phase in report["phases"]:
        measured = phase["occurrences"] - phase["warmup_occurrences"] - phase["cold_occurrences"]
        assert f"| {phase['name']} | {measured:,} |" in out


def test_list_ranges_says_what_each_counts_as(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "analyze", TRACES / f"h100_gpu_metrics{SUFFIX}", "--list-ranges", "--no-cache")

    assert (code, err) == (0, "")
    roles = {line.split()[-1]: line for line in out.splitlines() if line}
    assert "phase prefill" in roles["prefill"]
    assert "phase decode" in roles["decode"]


def test_output_goes_to_a_file_and_never_over_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out_file = TRACES / f"h100_gpu_metrics{SUFFIX}", tmp_path / "report.json"
    argv = ("analyze", path, "--format", "json", "--no-cache", "-o", out_file)

    assert run(capsys, *argv) == (0, "", "")
    written = out_file.read_text()
    assert json.loads(written)["schema"] == "llmperf.report/1"

    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert f"error: `{out_file}` exists" in err
    assert out_file.read_text() == written
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]

    assert run(capsys, *argv, "--force")[0] == 0


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    report = analyzed(capsys, DEMO_TRACE)
    code, out, err = run(capsys, "demo", "--no-cache")

    assert (code, err) == (0, "")
    assert report["trace"]["devices"][0]["name"] == "NVIDIA H100 80GB HBM3"
    by_name = {phase["name"]: phase for phase in report["phases"]}
    for name in ("prefill", "decode"):
        assert f"{by_name[name]['mfu_busy'] * 100:.2f}" in out
    assert f"checks  all {len(report['checks'])} passed" in out
    assert "next: " in out


def test_the_format_follows_the_name_of_the_output(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "report.json"

    code, out, _ = run(capsys, "analyze", TRACES / f"h100_train{SUFFIX}", "-o", target)

    assert (code, out) == (0, "")
    assert json.loads(target.read_text())["schema"] == "llmperf.report/1"
    assert run(capsys, "analyze", TRACES / f"h100_train{SUFFIX}", "-o", target)[0] == 2  # it exists


def test_a_rule_that_matches_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    report = analyzed(capsys, TRACES / f"h100_train{SUFFIX}", "--phase", "decode=^no such range$")

    assert "rule_without_ranges" in {notice["code"] for notice in report["warnings"]}


@pytest.mark.parametrize(("form", "expected"), [("table", "–"), ("markdown", "–")])
def test_without_gpu_work_no_gpu_is_idle(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str, expected: str
) -> None:
    # given a phase on the CPU
    trace = TraceBuilder()
    trace.process().thread().push(0, 2_000_000, "prefill")

    code, out, _ = run(capsys, "analyze", trace.write(tmp_path / "cpu.sqlite"), "--format", form)

    assert code == 0
    row = next(line for line in out.splitlines() if line.strip("| ").startswith("prefill"))
    assert "0.0 " not in row
    assert expected in row


LLAMA_8_LAYERS = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 8,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
}  # fmt: skip


def test_the_printed_peaks_are_those_that_utilization_is_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    fp8 = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
    config.write_text(json.dumps({**LLAMA_8_LAYERS, "quantization_config": fp8}), encoding="utf-8")
    argv = (TRACES / f"h100_cuda_graph_node{SUFFIX}", "--model", config, "--shape", "4x512+32")

    report = analyzed(capsys, *argv)
    _, text, _ = run(capsys, "analyze", *argv)
    text = " ".join(text.split())

    assert report["model"]["products"] == ["fp8", "bf16"]
    assert "1,978.9 TFLOP/s fp8, 989.4 TFLOP/s bf16" in text
    for phase in report["phases"]:
        assert 989.4e12 < phase["peak_flops_per_s"] < 1978.9e12
        assert f"{phase['name']} {phase['peak_flops_per_s'] / 1e12:,.1f}" in text


def test_what_the_model_has_beside_its_estimate_is_in_header_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    unread = {"quant_method": "gptq", "bits": 4, "surprise": 1}
    config.write_text(
        json.dumps({"model_type": "vipllava", "text_config": LLAMA_8_LAYERS, "quantization_config": unread}),
        encoding="utf-8",
    )
    argv = (TRACES / f"h100_cuda_graph_node{SUFFIX}", "--model", config, "--shape", "4x512+32")

    report = analyzed(capsys, *argv)
    _, text, _ = run(capsys, "analyze", *argv)

    assert report["model"]["not_counted"] == ["vision tower"]
    assert "not counted: vision tower" in " ".join(text.split())
    (note,) = [one["message"] for one in report["warnings"] if one["code"] == "quantization_not_read"]
    assert "`surprise`" in note
    report = analyzed(capsys, *argv, "--weight-dtype", "int4")
    assert "quantization_not_read" not in {one["code"] for one in report["warnings"]}


def test_dtypes_of_weights_and_cache_are_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA_8_LAYERS), encoding="utf-8")
    argv = (TRACES / f"h100_cuda_graph_node{SUFFIX}", "--model", config, "--shape", "4x512+32")

    def decode_bytes(*more: str) -> tuple[int, int]:
        decode = next(phase for phase in analyzed(capsys, *argv, *more)["phases"] if phase["name"] == "decode")
        _, out, _ = run(
            capsys, "sql", argv[0], "SELECT bytes FROM phase_summary WHERE phase = 'decode'", *argv[1:], *more,
            "--format", "json",
        )  # fmt: skip
        return int(decode["bytes"]), int(json.loads(out)["bytes"])

    plain, kv, weights = decode_bytes(), decode_bytes("--kv-dtype", "fp8"), decode_bytes("--weight-dtype", "int4")
    assert all(analyze == sql for analyze, sql in (plain, kv, weights))
    # One request: 32 steps of 4 sequences after 512 tokens; 8 layers cache 2 * 8 heads of 64 values, read and written.
    assert plain[0] - kv[0] == sum(4 * (512 + step + 1) * 8 * 2 * 8 * 64 for step in range(32))
    assert weights[0] < 0.4 * plain[0]
