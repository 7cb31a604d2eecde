"""Names in a trace are whatever a program put there: none forges a line, an escape sequence or markup."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from nsys_pipeline.query.session import Session
from nsys_pipeline.query.write import write_csv, write_json
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.cli.run import run
from tests.support.trace_builder import TraceBuilder

FORGED = "\nchecks  all 99 passed"
ESCAPE = "\x1b]0;owned\x07"
HTML = "<script>alert(1)</script>"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def hostile(folder: Path, name: str) -> Path:
    trace = TraceBuilder().gpu(name=f"GPU {name}")
    trace.process(name=name).thread().push(0, 1000, f"decode {name}").launch(10, gpu=(20, 30), name=f"kernel{name}")
    trace.diagnostic(f"Events were lost {name}", severity=2)
    return trace.write(folder / "trace.sqlite")


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_name_forges_no_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str) -> None:
    path = hostile(tmp_path, FORGED + ESCAPE)

    code, out, _ = run(capsys, "analyze", path, "--phase", "decode=^decode", "--format", form, "--no-cache")

    assert code == 0
    assert "GPU ␊checks  all 99 passed␛]0;owned" in out
    assert not any(line.startswith("checks  all 99") for line in out.splitlines())
    assert "\x1b" not in out


def test_html_in_a_name_is_text_in_markdown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = hostile(tmp_path, f"{HTML}|[x](http://y)`")

    _, out, _ = run(capsys, "analyze", path, "--phase", "decode=^decode", "--format", "markdown", "--no-cache")

    (row,) = [line for line in out.splitlines() if "kernel<" in line]
    # a code span shows HTML as it is; the name's own backtick does not end it
    assert f"`` kernel{HTML}\\|[x](http://y)` `` |" in row
    text = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", out)
    assert not re.search(r"(?<!\\)<script", text)


def test_a_path_forges_no_hint(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "analyze", tmp_path / "x\nhint: run `rm -r .`")

    assert code == 1
    assert not any(line.startswith("hint: run `rm") for line in err.splitlines())


def test_a_terminal_gets_no_escape_sequences_from_csv_and_json(tmp_path: Path) -> None:
    path = hostile(tmp_path, f"{ESCAPE}\x9b31m")
    query = f'SELECT name, 1 AS "x{ESCAPE}" FROM kernels'
    with Session.of(open_trace(path, TraceOptions(use_cache=False))) as session:
        for write in (write_csv, write_json):
            for stream in (Terminal(), io.StringIO()):
                with session.query(query) as result:
                    write(result, stream)
                raw = {"\x1b", "\x07", "\x9b"} & set(stream.getvalue())
                if stream.isatty():
                    assert raw == set()
                elif write is write_csv:
                    # files and pipes get what is there
                    assert raw == {"\x1b", "\x07", "\x9b"}
