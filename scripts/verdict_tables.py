#!/usr/bin/env python
"""Write the tables of docs/verdicts.md: planted causes, verdicts that were wrong, and the traces of one GPU.

python scripts/verdict_tables.py            write them
python scripts/verdict_tables.py --check    exit 1 if they are stale
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nsys_pipeline.analyze import analyze  # noqa: E402
from nsys_pipeline.inputs import AnalysisOptions  # noqa: E402
from nsys_pipeline.records import Finding, Report  # noqa: E402
from nsys_pipeline.report.numbers import milliseconds  # noqa: E402
from nsys_pipeline.report.phrases import OUTSIDE  # noqa: E402
from nsys_pipeline.trace import TraceOptions, open_trace  # noqa: E402
from tests.support.misleading import EXAMPLES  # noqa: E402
from tests.support.planted_causes import CAUSES, SEEDS, options_of  # noqa: E402
from tests.support.real_traces import NAMES, SUFFIX, TRACES  # noqa: E402

DOCUMENT = ROOT / "docs" / "verdicts.md"
SINGLE_GPU = tuple(name for name in NAMES if "x2_" not in name)


def report_of(path: Path, options: AnalysisOptions | None = None) -> Report:
    """The report of `path`, nothing cached."""
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        return analyze(trace, options)


def planted_table() -> list[str]:
    """Planted cause × finding: in how many traces it was told; and precision and recall of each finding."""
    told: dict[str, Counter[str]] = {}
    first: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        for planted, (make, expected) in CAUSES.items():
            told[planted] = Counter()
            for seed in range(SEEDS):
                path = make(Random(f"{planted} {seed}")).write(Path(folder) / f"{len(told)}-{seed}.sqlite")
                causes = [cause.code for cause in report_of(path, options_of(planted)).causes]
                told[planted].update(set(causes))
                first[planted] += bool(expected) and causes[:1] == [expected]
    return planted_lines(told, first)


def planted_lines(told: Mapping[str, Counter[str]], first: Mapping[str, int]) -> list[str]:
    """The table, from planted cause → how often each finding was told, and how often the right one was told first."""
    codes = list(dict.fromkeys(code for _, code in CAUSES.values() if code))
    lines = [
        f"| planted ({SEEDS} traces each) | {' | '.join(f'`{code}`' for code in codes)} | recall |",
        f"| :-- |{' --: |' * (len(codes) + 1)}",
    ]
    for planted, (_, expected) in CAUSES.items():
        recall = f"{first[planted] / SEEDS:.0%}" if expected else ""
        cells = [str(told[planted][code] or "") for code in codes]
        lines.append(f"| {planted} | {' | '.join(cells)} | {recall} |")
    precisions = []
    for code in codes:
        right = sum(told[planted][code] for planted, (_, expected) in CAUSES.items() if expected == code)
        every = sum(count[code] for count in told.values())
        precisions.append(f"{right / every:.0%}" if every else "")
    return [*lines, f"| precision | {' | '.join(precisions)} | |"]


def traces_table() -> list[str]:
    """Phases of the real traces with their verdict and the cause with most at stake."""
    lines = [
        "| trace | phase | verdict | because | first cause | saves at most |",
        "| :-- | :-- | :-- | :-- | :-- | --: |",
    ]
    for name in SINGLE_GPU:
        lines += trace_rows(name, report_of(TRACES / f"{name}{SUFFIX}"))
    return lines


def trace_rows(name: str, report: Report) -> list[str]:
    """One row of the table for each phase of a trace."""
    rows: list[tuple[str | None, str | None, str | None]] = [
        (phase.name, phase.bound, phase.bound_detail) for phase in report.phases if phase.bound_detail
    ]
    if not report.phases:
        rows = [(None, report.unattributed.bound, report.unattributed.bound_detail)]
    lines = []
    for phase, bound, detail in rows:
        causes = [cause for cause in report.causes if cause.phase == phase]
        lines.append(f"| {name} | {phase or OUTSIDE} | {bound or 'unknown'} | {detail} | {_first(causes)} |")
    return lines


def examples_table() -> list[str]:
    """What was once said wrongly, and what is said now."""
    lines = [
        "| example | phase | said before | verdict | because | most at stake | ms |",
        "| :-- | :-- | :-- | :-- | :-- | :-- | --: |",
    ]
    with TemporaryDirectory() as folder:
        for name, example in EXAMPLES.items():
            lines.append(example_row(name, report_of(example.path(Path(folder)), example.options)))
    return lines


def example_row(name: str, report: Report) -> str:
    """One row of that table."""
    example = EXAMPLES[name]
    (phase,) = (phase for phase in report.phases if phase.name == example.phase)
    first = example.first_of(report)
    said = f"{example.was} | {phase.bound} | {phase.bound_detail}"
    return f"| {name} | {phase.name} | {said} | `{first.code}` | {milliseconds(first.at_stake_ns)} |"


def _first(causes: list[Finding]) -> str:
    return f"`{causes[0].code}` | {milliseconds(causes[0].at_stake_ns)} ms" if causes else " | "


def filled(text: str, name: str, lines: list[str]) -> str:
    """`text` with `lines` between the marks called `name`."""
    mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return mark.sub(lambda found: f"{found[1]}\n" + "\n".join(lines) + f"\n\n{found[2]}", text)


def main(arguments: list[str]) -> int:
    """Write, or with `--check` compare."""
    text = DOCUMENT.read_text(encoding="utf-8")
    made = filled(filled(text, "planted", planted_table()), "traces", traces_table())
    made = filled(made, "examples", examples_table())
    if made == text:
        return 0
    if "--check" in arguments:
        print(f"{DOCUMENT.relative_to(ROOT)} is stale: python scripts/verdict_tables.py", file=sys.stderr)
        return 1
    DOCUMENT.write_text(made, encoding="utf-8")
    print(f"wrote {DOCUMENT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
