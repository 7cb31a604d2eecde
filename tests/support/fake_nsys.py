"""A program that answers as `nsys` does, for what a real one never says."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import pathlib, sys
arguments = sys.argv[1:]
if "--version" in arguments:
    print("NVIDIA Nsight Systems version {version}-242334140272v0")
elif "stats" in arguments:
    output = next(a.partition("=")[2] for a in arguments if a.startswith("--output="))
    for report, text in {reports!r}.items():
        pathlib.Path(output + "_" + report + ".json").write_text(text)
    print({said!r})
elif "--help" not in arguments:
    sys.exit(1)
"""


def _as_json(reports: dict[str, str]) -> dict[str, str]:
    """Numbers as nsys writes them, and nothing at all for a report without rows."""
    found = {}
    for report, text in reports.items():
        rows = [
            {name: int(value) if value.isdigit() else value for name, value in row.items()}
            for row in csv.DictReader(io.StringIO(text))
        ]
        found[report] = json.dumps(rows) if rows else ""
    return found


def fake_nsys(
    folder: Path, *, version: str = "2024.2.3.38", reports: dict[str, str] | None = None, said: str = ""
) -> Path:
    """A program in `folder` whose `stats` says `said` and writes `reports` as JSON, always with exit code 0.

    `reports`: name → the same as CSV.
    """
    program = folder / "nsys"
    program.write_text(
        _PROGRAM.format(python=sys.executable, version=version, reports=_as_json(reports or {}), said=said)
    )
    program.chmod(0o755)
    return program
