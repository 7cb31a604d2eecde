"""`llmperf sql` and `llmperf schema` as they are typed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from nsys_pipeline.cli.app import app
from nsys_pipeline.query.views import public_macros, public_views
from tests.support.edge_traces import EDGE_TRACES
from tests.support.real_traces import SUFFIX, TRACES


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMPERF_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "llmperf-cache"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(EDGE_TRACES["work_of_every_kind"]().write(tmp_path_factory.mktemp("small") / "trace.sqlite"))


def llmperf(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    return result.exit_code, result.stdout, result.stderr


def test_a_query_prints_a_table(small: str) -> None:
    code, out, err = llmperf(
        "sql", small, "SELECT phase, occurrence_id, wall_ns * 100 AS x, flops FROM phases ORDER BY 1"
    )
    assert (code, err) == (0, "")
    assert out == (
        "phase    occurrence_id       x  flops\n"
        "───────  ─────────────  ──────  ─────\n"
        "decode               2   6,000      –\n"
        "prefill              1  10,000      –\n"
        "(2 rows)\n"
    )


def test_unknown_utilization_has_a_hint(small: str) -> None:
    code, _, err = llmperf("sql", small, "SELECT phase, mfu_busy FROM phases")
    assert code == 0
    assert err.startswith("hint: MFU, MBU and SOL need a model (--model")


def test_rows_limits_the_table_and_says_so(small: str) -> None:
    _, out, _ = llmperf("sql", small, "SELECT range AS n FROM range(1000)", "--rows", "3")
    assert out.splitlines()[-1] == "(first 3 rows; --rows N shows more, --format csv all)"
    assert len(out.splitlines()) == 6


def test_csv_json_parquet_and_arrow(small: str, tmp_path: Path) -> None:
    query = (
        "SELECT 1 AS a, NULL AS b, 'x,y' AS c, [1, 2] AS d, 0.5 AS e, true AS f "
        "UNION ALL SELECT 2, 3, 'é', NULL, 'nan'::DOUBLE, false"
    )
    _, out, _ = llmperf("sql", small, query, "--format", "csv")
    assert list(csv.reader(io.StringIO(out))) == [
        ["a", "b", "c", "d", "e", "f"], ["1", "", "x,y", "[1, 2]", "0.5", "true"], ["2", "3", "é", "", "nan", "false"],
    ]  # fmt: skip
    _, out, _ = llmperf("sql", small, query, "--format", "json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"a": 1, "b": None, "c": "x,y", "d": [1, 2], "e": 0.5, "f": True},
        {"a": 2, "b": 3, "c": "é", "d": None, "e": None, "f": False},
    ]
    for name, read in (("out.parquet", pl.read_parquet), ("out.arrow", pl.read_ipc), ("out.csv", pl.read_csv)):
        code, out, err = llmperf("sql", small, "SELECT sum(dur_ns) AS s FROM gpu_work", "-o", str(tmp_path / name))
        assert (code, out, err) == (0, "", "")
        frame = read(tmp_path / name)
        assert frame.schema == {"s": pl.Int64}
        assert frame["s"].to_list() == [18]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.arrow", "out.csv", "out.parquet"]


def test_a_pipe_is_written_to_and_stays_one(small: str, tmp_path: Path) -> None:
    """A device, too: as root, a file in the place of /dev/null breaks every other program."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    try:
        assert llmperf("sql", small, "SELECT 1 AS a", "-o", str(pipe), "--format", "csv", "--force")[0] == 0
        assert os.read(reader, 100) == b"a\n1\n"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_an_existing_file_is_kept_without_force(small: str, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("precious")
    code, _, err = llmperf("sql", small, "SELECT 1 AS a", "-o", str(target))
    assert code == 2
    assert err.startswith(f"error: `{target}` exists")
    assert target.read_text() == "precious"
    assert llmperf("sql", small, "SELECT 1 AS a", "-o", str(target), "--force")[0] == 0
    assert target.read_text() == "a\n1\n"


def test_a_query_that_fails_leaves_no_file(small: str, tmp_path: Path) -> None:
    code, _, _ = llmperf("sql", small, "SELECT error('no') FROM phases", "-o", str(tmp_path / "out.csv"))
    assert code == 1
    assert list(tmp_path.iterdir()) == []


def test_query_from_a_file_from_stdin_and_with_parameters(small: str, tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_text("-- why?\nSELECT $n + 1 AS n, $name AS name, $f * 2 AS f;\n")
    arguments = ("--param", "n=41", "--param", "name=x=y", "--param", "f=0.5", "--format", "csv")
    assert llmperf("sql", small, "-f", str(file), *arguments)[1] == "n,name,f\n42,x=y,1.0\n"
    assert llmperf("sql", small, "--format", "csv", stdin="SELECT 7 AS n")[1] == "n\n7\n"


def test_a_recipe(small: str) -> None:
    code, out, _ = llmperf("sql", small, "--recipe", "top_kernels", "--param", "top=1", "--format", "csv")
    assert code == 0
    assert out == "phase,name,family,count,time_ns,time_ratio\nprefill,kernel,other,2,10,1.0\n"


def test_model_and_shape_fill_in_mfu() -> None:
    """The same number that `analyze` has: 12.625 TFLOP in 34.777 ms on 989.4 TFLOP/s; the first prefill is cold."""
    trace = str(TRACES / f"h100_llama1b{SUFFIX}")
    options = [
        "--model",
        "llama-3.2-1b",
        *(f"--shape={one}" for one in ("1x128+4", "1x2048+32", "8x512+32", "1x128+64")),
    ]
    query = "SELECT mfu_busy, flops FROM phase_summary WHERE phase = 'prefill'"
    code, out, _ = llmperf("sql", trace, query, *options, "--format", "json")
    assert code == 0
    row = json.loads(out)
    assert row["flops"] == 12_625_352_065_024
    assert row["mfu_busy"] == pytest.approx(0.36692, abs=1e-5)


def test_several_traces(small: str, tmp_path: Path) -> None:
    other = str(EDGE_TRACES["kernel_ends_after_its_range"]().write(tmp_path / "other.sqlite"))
    query = """
        SELECT
            b.phase, b.kernel_count AS base, n.kernel_count AS new,
            (SELECT count(*) FROM new.nsys.NVTX_EVENTS) AS events
        FROM base.phase_summary AS b JOIN new.phase_summary AS n USING (phase) ORDER BY 1
    """
    code, out, err = llmperf("sql", f"base={small}", f"new={other}", query, "--format", "csv")
    assert code == 0
    assert out == "phase,base,new,events\ndecode,0,1,2\nprefill,2,1,2\n"
    # What a reader must know says which trace it is about.
    assert "warning: new: the GPU is busy with prefill for longer than its ranges are open" in err
    macro = (
        "WITH i AS (SELECT device_id AS group_id, start_ns, end_ns FROM new.gpu_work) SELECT busy_ns FROM busy_ns('i')"
    )
    assert llmperf("sql", f"base={small}", f"new={other}", macro, "--format", "csv")[1] == "busy_ns\n70\n"
    code, _, err = llmperf("sql", f"base={small}", f"new={other}", "FROM phases")
    assert code == 1
    assert "did you mean" in err
    assert "`base.phases`" in err


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ("from phass", "Table with name phass does not exist!\nLINE 1: from phass\n             ^^^^^",
         "did you mean `phases`"),
        ("select nme from kernels",
         'Referenced column "nme" not found in FROM clause!\nLINE 1: select nme from kernels\n               ^^^',
         "did you mean `name`"),
        ("select\n  1 +\nfrom phases wher x", "syntax error at or near", None),
        ("from nsys.CUPTI_KERNEL", "Table with name CUPTI_KERNEL does not exist!", "`nsys.CUPTI_ACTIVITY_KIND_KERNEL`"),
        ("select busy_nss(1)", "Scalar Function with name busy_nss does not exist!", "did you mean `busy_ns`"),
        ("drop table x", "DROP is refused: a trace can only be read", "write one SELECT"),
        ("select $x", "the query has the parameter $x without a value", "pass --param x=VALUE"),
        ("", "there is no query", None),
    ],
)  # fmt: skip
def test_errors_show_the_place_and_the_nearest_name(query: str, message: str, hint: str | None, small: str) -> None:
    code, out, err = llmperf("sql", small, query)
    assert code == 1
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert hint is None or hint in err.partition("hint: ")[2]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SELECT 1", "SELECT 2"], "2 arguments after the trace"),
        (["SELECT 1", "--recipe", "streams"], "a query, --file and --recipe are three ways"),
        (["SELECT 1", "--param", "x"], "`x` is no parameter"),
        (["-f", "missing.sql"], "`missing.sql` cannot be read"),
        (["SELECT 1", "--memory-limit", "lots"], "`lots` is no amount of memory"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, small: str) -> None:
    code, _, err = llmperf("sql", small, *arguments)
    assert code == 2
    assert err.startswith(f"error: {message}")


@pytest.mark.parametrize("names", [["nsys", "b"], ["a-b=", "b"], ["a", "A"]])
def test_names_of_traces(names: list[str], small: str, tmp_path: Path) -> None:
    other = EDGE_TRACES["work_of_every_kind"]().write(tmp_path / "other.sqlite")
    code, _, err = llmperf("sql", f"{names[0]}={small}", f"{names[1]}={other}", "SELECT 1")
    assert code in (1, 2)
    assert err.startswith("error: ")


def test_the_time_limit(small: str) -> None:
    query = "SELECT count(*) FROM range(100000000) AS a, range(100000000) AS b"
    code, _, err = llmperf("sql", small, query, "--time-limit", "0.2")
    assert code == 1
    assert err == "error: the query took longer than 0.2 s\n\nhint: raise --time-limit, or ask for less\n"


def test_schema_lists_and_describes() -> None:
    _, out, _ = llmperf("schema")
    for module in (*public_views(), *public_macros()):
        assert re.search(rf"^{module.relation}\b", out, re.MULTILINE), module.relation
    _, out, _ = llmperf("schema", "gpu_busy")
    assert "idle_ns    BIGINT  Idle time since the GPU's busy interval before" in out
    _, out, _ = llmperf("schema", "gpu_busy", "--format", "json")
    assert json.loads(out)["columns"][0] == {
        "name": "device_id",
        "type": "BIGINT",
        "description": "GPU. Joins devices.",
    }
    _, out, _ = llmperf("schema", "--format", "json")
    assert {one["name"] for one in json.loads(out)} == {one.relation for one in (*public_views(), *public_macros())}
    _, out, _ = llmperf("schema", "phases", "--format", "markdown")
    assert "| `occurrence_id` | BIGINT |" in out
    _, out, _ = llmperf("schema", "--recipes")
    assert "longest_idle_gaps" in out
    _, out, _ = llmperf("schema", "top_kernels", "--recipes")
    assert "$top  Kernels of each phase. [10]" in out
    code, _, err = llmperf("schema", "phase")
    assert (code, err) == (
        1,
        "error: there is no view `phase`\n\nhint: did you mean `phases` or `phase_tree` or `phase_summary`?\n",
    )


# -- the prompt, in a real pseudo-terminal ---------------------------------------------------------------------------


class Terminal:
    """`llmperf sql TRACE` on a pseudo-terminal."""

    def __init__(self, trace: str, home: Path) -> None:
        master, slave = pty.openpty()
        environment = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home), "TERM": "dumb", "COLUMNS": "120"}
        # The terminal controls the process: Ctrl-C typed into it becomes SIGINT, which a shell's background ignores.
        start = (
            "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "signal.signal(signal.SIGINT, signal.SIG_DFL); "
            "os.execv(sys.executable, [sys.executable, '-m', 'nsys_pipeline', 'sql', sys.argv[1]])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, trace],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.master = master
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """Everything up to `text`, which must appear in time."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not appear in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    chunk = os.read(self.master, 65536).decode(errors="replace")
                except OSError:  # the other side has closed
                    chunk = ""
                assert chunk, f"the prompt ended before {text!r}: {self.seen!r}"
                self.seen += chunk
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def interrupt(self, seconds: float = 30) -> None:
        """Type Ctrl-C until a query has heard it: one in between prompt and query is swallowed."""
        deadline = time.monotonic() + seconds
        while True:
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                self.wait_for("interrupted", 1)
                return
            assert time.monotonic() < deadline, f"nothing was interrupted: {self.seen!r}"

    def leave(self) -> int:
        """Type Ctrl-D until the prompt ends: one that comes while the terminal is not raw is swallowed."""
        for _ in range(100):
            self.type("\x04")
            if select.select([self.master], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):
                    os.read(self.master, 65536)
            if self.process.poll() is not None:
                break
        return self.process.wait(5)


@pytest.fixture
def terminal(small: str, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(small, tmp_path)
    yield opened
    if opened.process.poll() is None:
        opened.process.kill()
        opened.process.wait()
    os.close(opened.master)


def test_the_prompt(terminal: Terminal, tmp_path: Path) -> None:
    """Multi-line query, error, command, Ctrl-C that stops a query and not the prompt, history, Ctrl-D."""
    terminal.wait_for("llmperf> ")
    terminal.type("SELECT phase, wall_ns\r")
    terminal.type("FROM phases ORDER BY 1;\r")
    assert "prefill" in terminal.wait_for("(2 rows)")
    terminal.wait_for("llmperf> ")
    terminal.type("from phass;\r")
    terminal.wait_for("hint: did you mean `phases`")
    terminal.wait_for("llmperf> ")
    terminal.type(".schema gpu_busy\r")
    terminal.wait_for("Idle time since the GPU's busy interval before")
    terminal.wait_for("llmperf> ")
    terminal.type("SELECT count(*) FROM range(10000) a, range(10000) b, range(10000) c, range(10000) d;\r")
    time.sleep(1.0)
    terminal.interrupt()
    terminal.wait_for("llmperf> ")
    terminal.type(".recipe top_kernels top=1\r")
    terminal.wait_for("prefill  kernel")
    terminal.wait_for("llmperf> ")
    assert terminal.leave() == 0
    history = (tmp_path / "llmperf" / "sql_history").read_text()
    assert "SELECT phase, wall_ns" in history
