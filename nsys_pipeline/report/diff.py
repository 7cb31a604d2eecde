"""A comparison of runs as a document. Gets plain dicts: rooms do not import each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

from nsys_pipeline.report.document import Column, Document, Note, Notes, Section, Table
from nsys_pipeline.report.formats import ReportFormat, render_document

SCHEMA = "llmperf.diff/1"
_KINDS = {"time": 0, "budget": 1, "family": 2, "kernel": 3}


def render_diff(difference: Mapping[str, Any], stream: IO[str], form: ReportFormat, *, top: int) -> None:
    """Write `difference`, attrs.asdict of compare's Difference, to `stream`."""
    if form is ReportFormat.json:
        json.dump(_json(difference), stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        return
    render_document(diff_document(difference, top=top), stream, form)


def render_sweep(reports: Sequence[tuple[str, Mapping[str, Any]]], stream: IO[str], form: ReportFormat) -> None:
    """Write a row for each run and phase to `stream`."""
    rows = [(name, phase) for name, report in reports for phase in report["phases"] if phase["occurrences"]]
    if form is ReportFormat.json:
        found = [
            {"run": name, **{key: value for key, value in phase.items() if not isinstance(value, list)}}
            for name, phase in rows
        ]
        json.dump({"schema": "llmperf.sweep/1", "rows": found}, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
        return
    rows.sort(key=lambda row: row[1]["name"])
    counted = [max(1, phase["occurrences"] - phase["warmup_occurrences"]) for _, phase in rows]
    columns = [
        Column.text("phase", [phase["name"] for _, phase in rows], is_grouped=True),
        Column.name("run", [name for name, _ in rows]),
        Column.count("n", counted),
        Column.amount(
            "wall ms",
            [_mean(phase, "wall_ns", "warmup_wall_ns", n) for (_, phase), n in zip(rows, counted, strict=True)],
            "ms",
        ),
        Column.amount(
            "busy ms",
            [_mean(phase, "gpu_busy_ns", "warmup_busy_ns", n) for (_, phase), n in zip(rows, counted, strict=True)],
            "ms",
        ),
        Column.percent("MFU busy %", [phase["mfu_busy"] for _, phase in rows]),
        Column.percent("MBU busy %", [phase["mbu_busy"] for _, phase in rows]),
    ]
    document = Document("", (), (Section("sweep", (Table(columns),), title="runs side by side, means per occurrence"),))
    render_document(document, stream, form)


def diff_document(difference: Mapping[str, Any], *, top: int) -> Document:
    """Changes per phase and shape, the largest first, with their noise; findings that came or went."""
    base, new = difference["base"]["name"], difference["new"]["name"]
    sections = []
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for change in difference["changes"]:
        groups.setdefault((change["phase"], change["shape"]), []).append(change)
    significant = [change for change in difference["changes"] if _verdict(change["comparison"]) == "changed"]
    for (phase, shape), changes in sorted(groups.items()):
        shown: list[Mapping[str, Any]] = []
        for kind in _KINDS:
            of_kind = [change for change in changes if change["kind"] == kind]
            shown += of_kind if kind in ("time", "budget") else of_kind[:top]
        title = f"{phase} {shape}".strip() + ", per occurrence"
        sections.append(Section(f"{phase} {shape}".strip(), (_table(shown),), title=title))
    notes = [Note("", text) for text in difference["one_sided"]]
    notes += [Note("came", _finding(each)) for each in difference["came"]]
    notes += [Note("gone", _finding(each)) for each in difference["gone"]]
    if notes:
        sections.append(Section("findings", (Notes(notes),)))
    said = (
        f"{len(significant)} of {len(difference['changes'])} numbers changed by more than their noise"
        if significant
        else "nothing changed by more than its noise"
    )
    summary = Section("summary", (Notes([Note("", said)]),))
    return Document(f"{base} → {new}", (), (summary, *sections))


def _table(changes: Sequence[Mapping[str, Any]]) -> Table:
    comparisons = [change["comparison"] for change in changes]
    return Table(
        [
            Column.text("", [change["kind"] for change in changes], is_grouped=True),
            Column.name("what", [change["name"] for change in changes]),
            Column.amount("base ms", [each["base"] for each in comparisons], "ms"),
            Column.amount("new ms", [each["new"] for each in comparisons], "ms"),
            Column.amount("Δ ms", [each["new"] - each["base"] for each in comparisons], "ms"),
            Column.percent("Δ %", [_change(each) for each in comparisons]),
            Column.percent("± %", [each["noise"] for each in comparisons]),
            Column.text("verdict", [_verdict(each) for each in comparisons]),
        ]
    )


def _change(comparison: Mapping[str, Any]) -> float | None:
    return (comparison["new"] - comparison["base"]) / comparison["base"] if comparison["base"] else None


def _verdict(comparison: Mapping[str, Any]) -> str:
    if comparison["base"] == comparison["new"]:
        return "same"
    if comparison["p_value"] is None:
        return "too few to tell"
    return "changed" if comparison["p_value"] < 0.01 else "within noise"


def _finding(each: Sequence[str]) -> str:
    code, phase = each
    return f"{code} of {phase}" if phase else code


def _mean(phase: Mapping[str, Any], key: str, warmup: str, count: int) -> float:
    value: float = (phase[key] - phase[warmup]) / count
    return value


def _json(difference: Mapping[str, Any]) -> dict[str, Any]:
    changes = [
        {
            "phase": change["phase"], "shape": change["shape"] or None, "kind": change["kind"], "name": change["name"],
            "base_ns": change["comparison"]["base"], "new_ns": change["comparison"]["new"],
            "change": _change(change["comparison"]), "noise": change["comparison"]["noise"],
            "p_value": change["comparison"]["p_value"], "base_occurrences": change["comparison"]["base_count"],
            "new_occurrences": change["comparison"]["new_count"], "verdict": _verdict(change["comparison"]),
        }
        for change in difference["changes"]
    ]  # fmt: skip
    return {
        "schema": SCHEMA,
        "base": difference["base"]["name"],
        "new": difference["new"]["name"],
        "changes": changes,
        "findings_came": [{"code": code, "phase": phase or None} for code, phase in difference["came"]],
        "findings_gone": [{"code": code, "phase": phase or None} for code, phase in difference["gone"]],
        "only_in_one": list(difference["one_sided"]),
    }
