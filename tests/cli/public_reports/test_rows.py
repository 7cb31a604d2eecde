"""Every report has its row in docs/public-reports.md."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__)
DOCUMENT = TESTS.resolve().parents[3] / "docs" / "public-reports.md"


def test_every_report_has_its_row_and_every_row_its_test() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| [")]
    named = [row.rpartition("`test_")[2].partition("`")[0] for row in rows]
    tests = {
        line[len("def test_") :].partition("(")[0]
        for file in TESTS.parent.glob("test_*.py")
        for line in file.read_text().splitlines()
        if line.startswith("def test_")
    }

    assert len(rows) >= 12
    assert set(named) == tests - {"every_report_has_its_row_and_every_row_its_test"}
    assert len({row.partition("](")[2].partition(")")[0] for row in rows}) == len(rows)
