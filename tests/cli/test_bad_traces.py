"""No input makes a traceback: each broken file is answered by one error that names it, and at most one hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.errors import ExitCode
from tests.cli.run import run
from tests.support.broken_files import BROKEN_FILES
from tests.support.trace_builder import TraceBuilder

COMMANDS = {"analyze": ("analyze", "--no-cache"), "sql": ("sql", "--no-cache")}
# Of each file, what its error must say it is, beside its name.
SAYS = {
    "missing_file": "does not exist",
    "empty_file": "is empty",
    "text_file": "text file",
    "empty_directory": "a folder without a trace in it",
    "directory_called_sqlite": "a folder without a trace in it",
    "git_lfs_pointer": "Git LFS pointer",
    "ncu_report": "Nsight Compute",
    "ncu_report_called_sqlite": "Nsight Compute",
    "old_qdrep": "nsys",
    "newer_nsys_rep": "nsys",
    "damaged_nsys_rep": "nsys",
    "unknown_nsys_rep": "does not begin like an nsys report",
    "truncated_xz": "damaged xz",
    "empty_database": "an empty database",
    "foreign_database": "a database of something else",
    "truncated_database": "truncated",
    "truncated_within_the_header": "truncated",
    "corrupt_kernel_page": "malformed",
    "half_way_export": "half-written",
}
# Exporting is nsys' job: where there is none, or none that is new enough, the exit code says so.
BY_NSYS = {"old_qdrep", "newer_nsys_rep", "damaged_nsys_rep"}


def asked(verb: str, path: Path) -> list[object]:
    name, *options = COMMANDS[verb]
    return [name, path, *(["SELECT count(*) FROM kernels"] if verb == "sql" else []), *options]


@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_broken_file_is_one_error(name: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = BROKEN_FILES[name](tmp_path)

    code, out, err = run(capsys, *asked(verb, path))

    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert path.name in lines[0]
    assert SAYS[name] in lines[0]
    assert len([line for line in lines if line.startswith("error:")]) == 1
    assert len([line for line in lines if line.startswith("hint:")]) <= 1
    assert "Traceback" not in err
    assert "this is a bug in llmperf" not in err
    is_nsys_at_fault = name in BY_NSYS and "nsys cannot read" not in lines[0]
    assert code == (ExitCode.NSYS if is_nsys_at_fault else ExitCode.DATA)


def test_every_broken_file_has_its_message() -> None:
    assert set(SAYS) == set(BROKEN_FILES)


def without_kernels(folder: Path) -> Path:
    trace = TraceBuilder()
    trace.process().thread().push(0, 50, "prefill")
    return trace.write(folder / "trace.sqlite")


def without_nvtx(folder: Path) -> Path:
    trace = TraceBuilder().gpu()
    trace.process().thread().launch(10, gpu=(20, 45))
    return trace.write(folder / "trace.sqlite")


def without_processes(folder: Path) -> Path:
    trace = TraceBuilder().gpu().without("PROCESSES").without_column("globalPid")
    main = trace.process().thread()
    main.push(0, 50, "prefill")
    main.launch(10, gpu=(20, 45))
    return trace.write(folder / "trace.sqlite")


def without_anything(folder: Path) -> Path:
    return TraceBuilder(lazy=False).write(folder / "trace.sqlite")


@pytest.mark.parametrize(
    ("make", "kernels", "says"),
    [
        (without_kernels, 0, "no GPU work was recorded"),
        (without_nvtx, 1, "no NVTX ranges"),
        (without_processes, 1, "does not say which model"),
        (without_anything, 0, "no GPU work was recorded"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_trace_that_merely_lacks_something_is_analyzed(
    make: object, kernels: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(make)
    path = make(tmp_path)

    code, out, err = run(capsys, "analyze", path, "--no-cache")
    assert (code, err) == (0, "")
    assert says in " ".join(out.split())

    code, out, err = run(capsys, "sql", path, "--no-cache", "--format", "csv", "SELECT count(*) AS n FROM kernels")
    assert (code, out) == (0, f"n\n{kernels}\n")
    # Kernels are what they are without a model, and without ranges.
    assert (says in err) is ("model" not in says and "ranges" not in says)


@pytest.mark.parametrize("name", sorted(BY_NSYS))
def test_a_report_without_an_nsys_to_export_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = BROKEN_FILES[name](tmp_path)
    monkeypatch.setenv("LLMPERF_NSYS", str(tmp_path / "nowhere" / "nsys"))

    code, out, err = run(capsys, "analyze", path, "--no-cache")

    assert (code, out) == (ExitCode.NSYS, "")
    assert err.startswith(f"error: `{path}` must be exported by nsys: ")
