"""Make a release: `python scripts/release.py VERSION`, in a clean checkout; needs the network and a minute.

Fragments of changelog.d move into CHANGELOG.md, and the version is written. Wheel and source archive are built into
dist/. The wheel is installed into a new environment and tried. Only then the release is committed and tagged; to push
is yours.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Where the version stands, and how.
VERSIONS = {
    "pyproject.toml": r'(?m)^version = "(.+)"$',
    "nsys_pipeline/__init__.py": r'(?m)^__version__ = "(.+)"$',
}
_VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")


def bullets(text: str) -> list[str]:
    """Return the items of a Markdown list, each with the lines that continue it."""
    return [item.rstrip() for item in re.split(r"(?m)^(?=- )", text) if item.startswith("- ")]


def with_release(changelog: str, version: str, date: str, fragments: Iterable[str]) -> str:
    """Return `changelog` with `fragments` under a heading for `version`: that of what was unreleased, or a new one.

    An item that stands there already is not repeated. Raises ValueError if the version has been released.
    """
    if re.search(rf"(?m)^## {re.escape(version)} \(\d", changelog):
        raise ValueError(f"CHANGELOG.md has {version} already")
    head, *sections = re.split(r"(?m)^(?=## )", changelog)
    body = ""
    if sections and sections[0].partition("\n")[0].endswith("(unreleased)"):
        body = sections.pop(0).partition("\n")[2].strip("\n")
    known = set(bullets(body))
    new = dict.fromkeys(item for text in fragments for item in bullets(text) if item not in known)
    items = "\n".join([body, *new]).strip("\n")
    return head + "\n".join([f"## {version} ({date})\n\n{items}\n", *sections])


def with_version(text: str, pattern: str, version: str) -> str:
    """Return `text` with the version that `pattern` finds replaced. Raises ValueError if there is not exactly one."""
    found = list(re.finditer(pattern, text))
    if len(found) != 1:
        raise ValueError(f"{len(found)} versions instead of one")
    return text[: found[0].start(1)] + version + text[found[0].end(1) :]


def main(argv: list[str]) -> None:
    """Do all of it, or say what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="as 1.2.3, or 1.2.3rc1")
    version = parser.parse_args(argv).version
    if not _VERSION.fullmatch(version):
        parser.error(f"{version} is not a version")
    if run("git", "status", "--porcelain"):
        parser.error("something is not committed")
    if run("git", "tag", "--list", f"v{version}"):
        parser.error(f"v{version} is tagged already")

    fragments = sorted((ROOT / "changelog.d").glob("*.md"))
    changelog = ROOT / "CHANGELOG.md"
    texts = [fragment.read_text(encoding="utf-8") for fragment in fragments]
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    changelog.write_text(with_release(changelog.read_text(encoding="utf-8"), version, date, texts), encoding="utf-8")
    for fragment in fragments:
        fragment.unlink()
    for name, pattern in VERSIONS.items():
        path = ROOT / name
        path.write_text(with_version(path.read_text(encoding="utf-8"), pattern, version), encoding="utf-8")
    try_wheel(build(version), version)
    run("git", "add", "--all", "changelog.d", "CHANGELOG.md", *VERSIONS)
    run("git", "commit", "--quiet", "--message", f"Release {version}")
    run("git", "tag", "--annotate", f"v{version}", "--message", f"llmperf {version}")
    print(f"dist/ has {version}, which is committed and tagged: git push --follow-tags")


def build(version: str) -> Path:
    """Build wheel and source archive into dist/ and return the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        python = new_environment(Path(folder))
        run(python, "-m", "pip", "install", "--quiet", "build")
        run(python, "-m", "build", "--outdir", "dist", ".")
    (wheel,) = (ROOT / "dist").glob(f"*-{version}-*.whl")
    return wheel


def try_wheel(wheel: Path, version: str) -> None:
    """Install the wheel into a new environment, and analyze the trace that it ships, away from this checkout."""
    with tempfile.TemporaryDirectory() as folder:
        python = new_environment(Path(folder) / "environment")
        run(python, "-m", "pip", "install", "--quiet", wheel)
        told = run(python, "-m", "nsys_pipeline", "--version", cwd=Path(folder))
        if version not in told.split():
            raise SystemExit(f"the wheel says that it is {told}")
        if "prefill" not in run(python, "-m", "nsys_pipeline", "demo", cwd=Path(folder)):
            raise SystemExit("the demo of the wheel shows no prefill")


def new_environment(folder: Path) -> Path:
    """Make a virtual environment and return its interpreter."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command to its end and return what it printed. What it says of errors is shown, and ends this."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1:])
