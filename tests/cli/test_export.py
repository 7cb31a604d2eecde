"""`llmperf export --to`: the views of a trace, read back by other tools."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.support import real_traces
from tests.support.fleet import write_fleet
from tests.support.trace_builder import TraceBuilder

TRACE = real_traces.TRACES / "h100_train.sqlite.xz"


def test_a_duckdb_file_has_every_view_with_its_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "train.duckdb"

    code, out, _ = run(capsys, "export", TRACE, "--to", "duckdb", "-o", target)

    assert (code, out.strip()) == (0, str(target))
    with duckdb.connect(str(target), read_only=True) as con:
        kernels = dict(con.execute("SELECT phase, kernel_count FROM phase_summary").fetchall())
        comments = con.execute(
            "SELECT count(*) FROM duckdb_columns() WHERE table_name = 'phases' AND comment IS NULL"
        ).fetchall()
    assert kernels == {"forward": 561, "backward": 1068, "optimizer": 676}
    assert comments == [(0,)]


def test_a_parquet_folder_opens_in_polars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "train"

    code, _, _ = run(capsys, "export", TRACE, "--to", "parquet", "-o", target)

    assert code == 0
    kernels = pl.read_parquet(target / "kernels.parquet")
    assert (kernels.height, kernels["phase"].is_null().sum()) == (2396, 91)


def test_what_is_wrong_in_the_views_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 60, "prefill").launch(1, gpu=(10, 20))
    path = trace.write(tmp_path / "trace.sqlite")

    code, _, err = run(
        capsys,
        "export",
        path,
        "--to",
        "parquet",
        "-o",
        tmp_path / "out",
        "--model",
        "llama-3.2-1b",
        "--shape",
        "1x16+0",
    )

    assert code == 0
    assert "prefill would reach" in err
    assert pl.read_parquet(tmp_path / "out" / "phase_summary.parquet")["mfu_busy"].to_list() == [None]


def test_what_is_there_is_kept_and_formats_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "train.duckdb"
    target.write_text("mine")

    assert run(capsys, "export", TRACE, "--to", "duckdb", "-o", target)[0] == 2
    assert run(capsys, "export", TRACE, "--to", "excel")[0] == 2
    assert target.read_text() == "mine"


@pytest.mark.parametrize("what", [(), ("--to", "duckdb"), ("--to", "parquet")])
def test_a_device_or_a_pipe_is_not_replaced(
    what: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = TraceBuilder().write(tmp_path / "t.sqlite")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    code, _, err = run(capsys, "export", trace, *what, "-o", pipe, "--force")

    assert (code, "is no file that can be replaced" in err) == (2, True)
    assert pipe.is_fifo()


def test_a_url_of_a_file_is_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = write_fleet(tmp_path / "in", ["trace.sqlite"]) / "trace.sqlite"
    target = tmp_path / "clean.sqlite"

    query = f"file://{trace}", "SELECT sum(wall_ns)::BIGINT AS ns FROM phases"
    assert run(capsys, "sql", *query, "-o", f"file://{tmp_path}/x.csv") == (0, "", "")
    assert (tmp_path / "x.csv").read_text() == "ns\n8000\n"
    assert run(capsys, "export", f"file://{tmp_path}/in", "-o", f"file://{target}")[:2] == (0, f"{target}\n")
    assert target.is_file()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("analyze", "memory://b/t.sqlite"), "is not on this machine"),
        (("analyze", "demo.sqlite", "-o", "memory://b/x.html"), "is not on this machine"),
        (("sql", "demo.sqlite", "from phases", "-o", "memory://b/x.csv"), "is not on this machine"),
        (("ncu", "memory://b/t.sqlite"), "is not on this machine"),
        (("runs", "memory://b/runs"), "is not on this machine"),
        (("sql", "memory://b/t.sqlite", "from phases"), "is no dataset of a fleet"),
        (("export", "memory://b/t.sqlite", "--to", "duckdb"), "is no dataset of a fleet"),
    ],
)
def test_traces_and_reports_are_not_in_buckets(
    argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("error: `memory://b/")
    assert said in err


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A trace, and a cache that has it."""
    folder = tmp_path_factory.mktemp("prepared")
    trace, cache = real_traces.unpack_by_name("h100_train", folder), folder / "cache"
    with open_trace(trace, TraceOptions(cache_dir=cache)) as opened:
        analyze(opened)
    return trace, cache


@pytest.mark.parametrize("argv", [("--to", "duckdb"), ("--to", "parquet"), ()])
def test_a_full_disk_leaves_no_pieces(argv: tuple[str, ...], tmp_path: Path, prepared: tuple[Path, Path]) -> None:
    # given a file system on which no file grows beyond 20 kB, as a full one refuses to write
    trace, cache = prepared
    target = tmp_path / "out" / "result"
    target.parent.mkdir()
    environment = os.environ | {"LLMPERF_CACHE_DIR": str(cache)}

    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-m", "nsys_pipeline", "export", trace, *argv, "-o", target],
        env=environment, capture_output=True, text=True, check=False, preexec_fn=limit_files,
    )  # fmt: skip

    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.startswith(f"error: `{target}` cannot be written: ")
    assert "bug" not in done.stderr
    assert list(target.parent.iterdir()) == []
