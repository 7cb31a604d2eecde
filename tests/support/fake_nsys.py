"""A program that answers as `nsys` does, for what a real one never says."""

from __future__ import annotations

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
        pathlib.Path(output + "_" + report + ".csv").write_text(text)
    print({said!r})
elif "--help" not in arguments:
    sys.exit(1)
"""


def fake_nsys(
    folder: Path, *, version: str = "2024.2.3.38", reports: dict[str, str] | None = None, said: str = ""
) -> Path:
    """A program in `folder` whose `stats` says `said` and writes `reports` (report → CSV), always with exit code 0."""
    program = folder / "nsys"
    program.write_text(_PROGRAM.format(python=sys.executable, version=version, reports=reports or {}, said=said))
    program.chmod(0o755)
    return program
