"""A comparison of runs as a document. Gets plain dicts: rooms do not import each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

from nsys_pipeline.records import Bound
from nsys_pipeline.report.document import Column, Document, Note, Notes, Section, Table
from nsys_pipeline.report.formats import ReportFormat, render_document

SWEEP_SCHEMA = "llmperf.sweep/1"
_VERDICTS = ("changed", "within noise", "too few to tell")
_KINDS = ("time", "budget", "family", "kernel")
# Name of a run, its JSON report, and the numbers in it by name.
Sweep = tuple[str, Mapping[str, Any], Mapping[str, float | None]]


def render_diff(difference: Mapping[str, Any], stream: IO[str], form: ReportFormat, *, top: int) -> None:
    """Write `difference`, an object of schema llmperf.diff/1, to `stream`."""
    if form is ReportFormat.json:
        json.dump(difference, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        return
    render_document(diff_document(difference, top=top), stream, form)


def render_sweep(reports: Sequence[Sweep], stream: IO[str], form: ReportFormat) -> None:
    """Write a row for each run and phase to `stream`."""
    rows = [
        (name, phase, numbers)
        for name, report, numbers in reports
        for phase in report["phases"]
        if phase["occurrences"]
    ]
    if form is ReportFormat.json:
        found = [
            {"run": name, **{key: value for key, value in phase.items() if not isinstance(value, list)}}
            for name, phase, _ in rows
        ]
        json.dump({"schema": SWEEP_SCHEMA, "rows": found}, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
        return
    rows.sort(key=lambda row: row[1]["name"])

    def each(key: str) -> list[float | None]:
        return [numbers[f"{phase['name']}.{key}"] for _, phase, numbers in rows]

    signs = [Bound.in_row(phase) for _, phase, _ in rows]
    columns = [
        Column.text("phase", [phase["name"] for _, phase, _ in rows], is_grouped=True),
        Column.name("run", [name for name, _, _ in rows]),
        Column.count("n", [_measured_count(phase) for _, phase, _ in rows]),
        Column.amount("wall ms", each("step_wall_ns"), "ms"),
        Column.amount("busy ms", each("step_busy_ns"), "ms"),
        Column.percent("MFU busy %", each("mfu_busy")).signed(signs),
        Column.percent("MBU busy %", each("mbu_busy")).signed(signs),
    ]
    document = Document("", (), (Section("sweep", (Table(columns),), title="runs side by side, means per occurrence"),))
    render_document(document, stream, form)


def _measured_count(phase: Mapping[str, Any]) -> int:
    return int(phase["occurrences"] - phase["warmup_occurrences"] - phase.get("cold_occurrences", 0))


def diff_document(difference: Mapping[str, Any], *, top: int) -> Document:
    """Changes per phase and shape, the largest first, with their noise; findings that came or went."""
    base, new = difference["base"], difference["new"]
    sections = []
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for change in difference["changes"]:
        groups.setdefault((change["phase"], change["shape"] or ""), []).append(change)
    for (phase, shape), changes in sorted(groups.items()):
        shown: list[Mapping[str, Any]] = []
        for kind in _KINDS:
            of_kind = [change for change in changes if change["kind"] == kind]
            shown += of_kind if kind in ("time", "budget") else of_kind[:top]
        title = f"{phase} {shape}".strip() + ", per occurrence"
        sections.append(Section(f"{phase} {shape}".strip(), (_table(shown),), title=title))
    notes = [Note("", text) for text in (*difference["caveats"], *difference["only_in_one"])]
    notes += _clock_notes(difference["clocks"])
    notes += [Note("came", _finding(each)) for each in difference["findings_came"]]
    notes += [Note("gone", _finding(each)) for each in difference["findings_gone"]]
    if notes:
        sections.append(Section("findings", (Notes(notes),)))
    summary = Section("summary", (Notes([Note("", _summary(difference["changes"]))]),))
    return Document(f"{base} → {new}", (), (summary, *sections))


# Sampled clocks of equal runs differ by less.
_LEAST_CLOCK = 0.01


def _clock_notes(clocks: Sequence[Mapping[str, Any]]) -> list[Note]:
    """Clocks that differ: kernels whose limit is not the memory take longer in proportion."""
    notes = []
    for clock in clocks:
        base, new = clock["base_hz"], clock["new_hz"]
        if abs(new / base - 1) >= _LEAST_CLOCK:
            what = f"of {clock['phase']}, as sampled" if clock["phase"] else "at most"
            notes.append(Note("GPU clock", f"{what}: {base / 1e6:,.0f} → {new / 1e6:,.0f} MHz, {new / base - 1:+.1%}"))
    return notes


def _summary(changes: Sequence[Mapping[str, Any]]) -> str:
    counts = {verdict: sum(each["verdict"] == verdict for each in changes) for verdict in _VERDICTS}
    if not changes:
        return "nothing was compared: the runs have no phase in common"
    if counts["changed"]:
        return f"{counts['changed']} of {len(changes)} numbers changed by more than their noise"
    if counts["too few to tell"] and not counts["within noise"]:
        return "a single occurrence has no noise to compare with: too few to tell whether anything changed"
    return "nothing changed by more than its noise"


def _table(changes: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        [
            Column.text("", [change["kind"] for change in changes], is_grouped=True),
            Column.name("what", [change["name"] for change in changes]),
            Column.amount("base ms", [change["base_ns"] for change in changes], "ms"),
            Column.amount("new ms", [change["new_ns"] for change in changes], "ms"),
            Column.amount("Δ ms", [change["new_ns"] - change["base_ns"] for change in changes], "ms"),
            Column.percent("Δ %", [change["change"] for change in changes]),
            Column.percent("± %", [change["noise"] for change in changes]),
            Column.text("verdict", [change["verdict"] for change in changes]),
        ]
    )


def _finding(each: Mapping[str, str | None]) -> str:
    return f"{each['code']} of {each['phase']}" if each["phase"] else str(each["code"])
