"""The commands of docs/skills/llmperf/SKILL.md run, on the trace of the demo, and what it says of a report is true."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from nsys_pipeline.cli.demo import DEMO_TRACE
from nsys_pipeline.query.views import public_views
from tests.cli.run import run

ROOT = Path(__file__).resolve().parents[2]
SKILL = (ROOT / "docs" / "skills" / "llmperf" / "SKILL.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", SKILL, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    assert words[0] == "llmperf"
    code, out, err = run(capsys, *(str(DEMO_TRACE) if word == "TRACE" else word for word in words[1:]))
    assert code == 0, err
    for path in tmp_path.glob("*.json"):
        out = path.read_text(encoding="utf-8")
    assert out
    if "json" in words:
        rows = out.splitlines() if words[1] == "sql" else [out]
        assert all(json.loads(row) for row in rows)


def test_the_fields_that_it_names_are_in_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(run(capsys, "analyze", DEMO_TRACE, "--format", "json")[1])
    phase = report["phases"][0]
    named = re.findall(r"`phases\[\]\.(\w+)`", SKILL)
    assert named
    assert set(named) | {"mfu_busy", "mbu_busy"} <= phase.keys()
    assert {"findings", "phases"} <= report.keys()
    assert all(finding.keys() >= {"severity", "at_stake_ns"} for finding in report["findings"])


def test_five_questions_are_answered_by_their_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """An agent that has this page alone: its answers are those of the report."""
    block = re.search(r"^Five questions.*?^```sh\n(.*?)^```$", SKILL, re.MULTILINE | re.DOTALL)
    assert block
    report = json.loads(run(capsys, "analyze", DEMO_TRACE, "--format", "json")[1])
    phases = {phase["name"]: phase for phase in report["phases"]}
    answers = []
    for line in block[1].splitlines():
        words = [str(DEMO_TRACE) if word == "TRACE" else word for word in shlex.split(line)[1:]]
        answers.append([json.loads(row) for row in run(capsys, *words)[1].splitlines()])
    bounds, worth, kernels, utilization, latency = answers

    for row in (row for row in bounds if row["phase"]):
        phase = phases[row["phase"]]
        assert row["bound"] == phase["bound"]
        assert row["share"] == pytest.approx(max(phase["budget"].values()) / sum(phase["budget"].values()))
    stakes = [finding["at_stake_ns"] for finding in report["findings"] if finding["at_stake_ns"]]
    assert [row["at_stake_ns"] for row in worth] == sorted(stakes, reverse=True)[:5]
    assert kernels[0]["in_graph"] is True
    measured = [
        row["time_ns"] - row["warmup_time_ns"] - row["cold_time_ns"]
        for row in report["kernels"]
        if row["phase"] == "decode"
    ]
    assert kernels[0]["time_ns"] == max(measured)
    for row in utilization:
        assert row["mfu_busy"] == pytest.approx(phases[row["phase"]]["mfu_busy"])
    assert [row["ttft_ns"] for row in latency if not row["is_warmup"]] == [
        row["ttft_p50_ns"] for row in report["requests"]
    ]


def test_it_begins_with_what_an_agent_reads_first() -> None:
    head = re.match(r"---\nname: (\S+)\ndescription: (.+)\n---\n", SKILL)
    assert head
    assert head[1] == "llmperf"
    assert len(head[2]) < 1024
    assert {"gpu_busy", "kernels", "phases", "time_budget"} <= {view.relation for view in public_views()}
