"""`--range`: texts that match are phases, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsys_pipeline import open as open_trace_of
from nsys_pipeline.errors import UsageError
from nsys_pipeline.rules.phases import PhaseRule, classify
from tests.cli.run import run
from tests.support.trace_builder import TraceBuilder


@pytest.mark.parametrize(
    ("domain", "text", "phase"),
    [
        ("", "layer.3.attn", "layer.N.attn"),
        ("app", "layer 12", "app:layer N"),
        ("", "layer outside", "layer outside"),
        ("", "decode", None),
        ("llmperf", "prefill", None),
    ],
)
def test_a_text_that_matches_is_a_phase_of_its_own(domain: str, text: str, phase: str | None) -> None:
    role = classify(domain, text, [PhaseRule.of_ranges("layer")])
    assert (role.phase if role else None) == phase


def test_warm_up_and_requests_stay_what_they_are() -> None:
    rules = [PhaseRule.of_ranges("layer")]
    assert [role.role if (role := classify("llmperf", name, rules)) else None for name in ("warmup", "request")] == [
        "warmup", "request",
    ]  # fmt: skip


def test_names_that_llmperf_uses_are_told_apart() -> None:
    rule = PhaseRule.of_ranges(".*")
    assert [role.phase for text in ("outside", "", "Warm-up") if (role := rule.match(text))] == [
        "range outside", "range", "range Warm-up",
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["", "("])
def test_a_malformed_expression_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        PhaseRule.of_ranges(pattern)


def test_the_budget_is_of_the_ranges_that_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = TraceBuilder().gpu()
    thread = trace.process().thread()
    thread.push(0, 1_000, "decode").push(100, 900, "outer").push(300, 500, "inner 1").push(600, 700, "inner 2")
    for at in (50, 150, 350, 650):
        thread.launch(at, gpu=(at + 10, at + 40))
    path = trace.write(tmp_path / "t.sqlite")

    _, output, _ = run(capsys, "analyze", path, "--range", "^outer", "--range", "inner", "--format", "json")
    _, recipe, _ = run(capsys, "sql", path, "--recipe", "range_gpu_times", "--format", "csv")

    report = json.loads(output)
    # Work of the inner ones is theirs: times of a phase are exclusive.
    phases = {one["name"]: (one["occurrences"], one["kernel_count"], one["source"]) for one in report["phases"]}
    assert phases == {"outer": (1, 1, "options"), "inner N": (2, 2, "options")}
    assert report["unattributed"]["kernel_count"] == 1
    assert sum(sum(one["budget"].values()) for one in report["phases"]) > 0
    with open_trace_of(path, ranges="inner") as opened:
        assert opened.sql("SELECT DISTINCT phase FROM phases")["phase"].to_list() == ["inner N"]
    # The recipe has both, own_gpu_ns and gpu_time_ns.
    assert ",outer,1,800,30,90" in recipe
    assert ",decode,1,1000,30,120" in recipe
