"""A row of `CONVERTED` is all that the rooms know of a format of another recorder."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.crosscheck import verify
from nsys_pipeline.errors import UsageError
from nsys_pipeline.trace import TraceOptions, open_trace
from nsys_pipeline.trace.cache import temporary
from nsys_pipeline.trace.clean_copy import clean_copy
from nsys_pipeline.trace.formats import CONVERTED, Converted, Kind
from nsys_pipeline.trace.identify import identify
from tests.support.trace_builder import TraceBuilder


def _converted(path: Path, out: Path, limit_bytes: int | None) -> Path:
    assert path.read_bytes() == b"OURS 1.0"
    trace = TraceBuilder().gpu()
    trace.process().thread().push(0, 100, "decode").launch(10, gpu=(20, 30)).launch(40, gpu=(50, 60))
    return trace.write(temporary(out)).replace(out)


OURS = Converted(
    recorder="ours",
    about="a `.ours`",
    begins=lambda head: head.startswith(b"OURS"),
    suffixes=(".ours",),
    run_suffixes=(),
    convert=_converted,
)


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(CONVERTED, Kind.KINETO, OURS)
    path = tmp_path / "run.ours"
    path.write_bytes(b"OURS 1.0")
    return path


def test_it_is_told_by_its_first_bytes_and_opened_as_an_export(trace: Path) -> None:
    assert identify(trace) is Kind.KINETO
    with open_trace(trace, TraceOptions(use_cache=False)) as opened:
        opened.build("load.gpu_ops")
        assert opened.connection.execute("SELECT count(*) FROM load.gpu_ops").fetchone() == (2,)
        assert opened.converted_from == "ours"
        with pytest.raises(UsageError, match="cannot read a trace of ours"):
            verify(opened)


def test_a_copy_of_it_is_the_export(trace: Path, tmp_path: Path) -> None:
    copy = clean_copy(trace, identify(trace), tmp_path / "copy.sqlite")
    assert identify(copy) is Kind.SQLITE
