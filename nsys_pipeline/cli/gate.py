"""Rules on the command line: `--fail-if`, `--rules`, `--base`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from nsys_pipeline.cli.messages import print_warning
from nsys_pipeline.errors import RuleBrokenError, UsageError
from nsys_pipeline.text import printable

if TYPE_CHECKING:
    from nsys_pipeline.compare.rules import Rule
    from nsys_pipeline.compare.subject import Subject
    from nsys_pipeline.records import Report

_GATE = "Gate"
FailIfOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="RULE",
        help='Exit with 1 if it holds, as in "prefill.mfu_busy < 0.35" or, against a base, "decode.tpot_p50 > +5%".',
        rich_help_panel=_GATE,
    ),
]
RulesOption = Annotated[
    Path | None, typer.Option("--rules", metavar="FILE", help="Rules, one a line.", rich_help_panel=_GATE)
]
BaseOption = Annotated[
    Path | None,
    typer.Option("--base", metavar="FILE", help="JSON report that relative rules compare with.", rich_help_panel=_GATE),
]


def rules_of(fail_if: Sequence[str] | None, file: Path | None) -> list[Rule]:
    """All rules that were given. Raises UsageError where one cannot be read."""
    if not fail_if and file is None:
        return []
    from nsys_pipeline.compare.rules import Rule, read_rules

    rules = [Rule.parse(text) for text in fail_if or ()]
    if file is not None:
        try:
            rules += read_rules(file.read_text(encoding="utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"`{file}` cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not rules:
        raise UsageError(f"`{file}` holds no rule", hint='write one a line, as in "decode.tpot_p50 > +5%"')
    return rules


def read_base(path: Path | None) -> dict[str, Any] | None:
    """The JSON report at `path`. Raises UsageError where it is none: a missing base is no success."""
    if path is None:
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the base `{path}` cannot be read: {getattr(error, 'strerror', None) or error}",
            hint="make it with `llmperf analyze TRACE --format json -o FILE`",
        ) from error
    if not isinstance(report, dict) or not str(report.get("schema", "")).startswith("llmperf.report/"):
        raise UsageError(
            f"the base `{path}` is no JSON report of llmperf", hint="make it with `llmperf analyze TRACE --format json`"
        )
    from nsys_pipeline.compare.fields import numbers

    try:
        for name, value in numbers(report).items():
            if value is not None and not (isinstance(value, int | float) and abs(value) <= sys.float_info.max):
                raise ValueError(f"{name} is no number")  # noqa: TRY301 - said below like any other damage
        _subject(report), _shapes(report)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"the base `{path}` is damaged: {type(error).__name__}: {error}",
            hint="make it again with `llmperf analyze TRACE --format json -o FILE`",
        ) from error
    return report


def check_base(rules: Sequence[Rule], report: Report, base: Mapping[str, Any] | None) -> None:
    """Raise UsageError where a rule is about a change, and the runs do not compare; warn of what makes them differ.

    Both as `llmperf diff` does.
    """
    if base is None or not any(rule.is_relative for rule in rules):
        return
    from nsys_pipeline.compare.subject import obstacles

    new = attrs.asdict(report)
    one, other = _shapes(base), _shapes(new)
    are_apart = bool(one and other) and one.isdisjoint(other)
    if reasons := obstacles(_subject(base), _subject(new), shares_shapes=not are_apart):
        raise UsageError(
            f"the base and the run do not compare: {'; '.join(reasons)}",
            hint="llmperf diff BASE NEW --force-compare compares their traces all the same, by the same rules",
        )
    for caveat in _caveats(base, new):
        print_warning(caveat)


def _caveats(base: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[str]:
    from nsys_pipeline.compare.caveats import of_graphs, of_recorders

    one, other = ((report.get("trace") or {}).get("recorder") for report in (base, new))
    yield from of_recorders("the base", one, "this run", other)
    before, after = (
        {phase.get("name"): bool(phase.get("graph_time_ns")) for phase in report.get("phases") or ()}
        for report in (base, new)
    )
    for name, is_whole in before.items():
        if after.get(name, is_whole) != is_whole:
            yield of_graphs(name, "the base" if is_whole else "this run", "its numbers of kernels lack them")


def _subject(report: Mapping[str, Any]) -> Subject:
    from nsys_pipeline.compare.subject import Subject

    devices = (report.get("trace") or {}).get("devices") or ()
    # As `diff` does; a report of an older llmperf does not say which GPUs had work.
    names = [device.get("name") for device in devices if device.get("has_work", True)]
    return Subject.of(report.get("model"), names)


def _shapes(report: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Shapes of steps, of each phase, whatever their context."""
    from nsys_pipeline.compare.subject import without_context

    return {
        (str(phase.get("name")), without_context(str(shape["shape"])))
        for phase in report.get("phases") or ()
        for shape in phase.get("shapes") or ()
        if shape.get("shape")
    }


def check_rules(rules: Sequence[Rule], report: Report, base: Mapping[str, Any] | None = None) -> None:
    """Raise CheckError, with a line for each broken rule; UsageError where a rule asks for what is not there."""
    from nsys_pipeline.compare.fields import bounds, numbers

    here, there = attrs.asdict(report), base or {}
    new, before = numbers(here), None if base is None else numbers(there)
    known = {"bounds": bounds(here), "base_bounds": bounds(there)}
    broken = [said for rule in rules if (said := rule.broken(new, before, **known)) is not None]
    if broken:
        raise RuleBrokenError(f"{len(broken)} of {len(rules)} rules broken\n  " + "\n  ".join(map(printable, broken)))
