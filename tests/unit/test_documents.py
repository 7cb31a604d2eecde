"""What the documents say is what llmperf does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from nsys_pipeline import __version__
from nsys_pipeline.cli.app import app
from nsys_pipeline.cli.demo import DEMO_TRACE
from nsys_pipeline.cli.group import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shell_blocks() -> list[list[str]]:
    return [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]


def test_the_first_commands_of_the_readme_are_the_ones_that_ci_runs() -> None:
    assert shell_blocks()[0] == [
        "pip install . && llmperf demo",
        'pip install ".[test]" && python -m pytest -n auto',
    ]
    ci = (ROOT / ".ci" / "run").read_text()
    assert "readme_command" in ci
    assert "for line in 1 2" in ci


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_readme_shows_every_verb(verb: str) -> None:
    assert re.search(rf"\bllmperf {verb}\b", README), verb


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_images_of_the_readme_are_there_and_small() -> None:
    images = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert images
    for image in images:
        assert (ROOT / image).stat().st_size < 300_000, image


def test_the_guide_shows_what_the_demo_prints_and_the_readme_how_it_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        app(["demo", "--no-cache"], prog_name="llmperf")
    # Less the last lines, which say where the trace is.
    report = capsys.readouterr().out.partition("\nnext: ")[0]

    guide = (ROOT / "docs" / "reading-a-report.md").read_text(encoding="utf-8")
    assert f"```text\n{report}" in guide, "paste what `COLUMNS=100 llmperf demo` prints"
    excerpt = re.search(r"^```text\n(h100_llama.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert excerpt
    start, *others = excerpt[1].split("…\n")
    # Before it the demo says where its trace comes from, and a blank line follows.
    assert report.partition("\n\n")[2].startswith(start)
    for part in others:
        assert part.strip() in report


def printed_blocks(document: Path) -> list[str]:
    return re.findall(r"^```text\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit):
        app(list(arguments), prog_name="llmperf")
    return capsys.readouterr().out


def test_queries_of_the_readme_print_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """Each block that begins with a command, on the trace of the demo."""
    blocks = [block for block in printed_blocks(ROOT / "README.md") if block.startswith("$ ")]
    assert blocks
    for block in blocks:
        command = re.match(r'\$ llmperf sql trace\.sqlite "([^"]*)"\n', block)
        assert command, f"no test knows how to run this: {block.splitlines()[0]}"
        assert block[command.end() :] == printed(capsys, "sql", str(DEMO_TRACE), command[1])


def test_every_output_in_the_documents_is_checked_or_named_here() -> None:
    """A block that nothing compares with the program goes stale in silence."""
    # tests/cli/test_howto.py runs the commands of the tutorial, and of docs/howto.
    checked = {"README.md": 2, "tutorial.md": 4, "reading-a-report.md": 1}
    # What captures on GPUs printed, run once; scripts/gpu_captures.py and gpu_serving.py make them again.
    recorded = {"gpu-captures.md": 15, "gpu-serving.md": 1, "first-light.md": 2}
    found = {document.name: len(printed_blocks(document)) for document in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
    assert {name: number for name, number in found.items() if number} == checked | recorded
