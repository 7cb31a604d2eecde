"""`metadata`: what nsys says about a capture, without what it knows about the user."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder


def test_environment_variables_are_left_out(tmp_path: Path) -> None:
    builder = TraceBuilder()
    builder.process().thread().push(0, 10, "prefill")
    path = builder.write(tmp_path / "trace.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE IF NOT EXISTS META_DATA_CAPTURE (name TEXT, value TEXT)")
        db.execute("INSERT INTO META_DATA_CAPTURE VALUES ('PROCESS_0:ENVIRONMENT_VARIABLE', 'HF_TOKEN=\"hf_secret\"')")
        db.execute("INSERT INTO META_DATA_CAPTURE VALUES ('HOSTNAME', 'box')")

    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        trace.build("views.metadata")
        rows = trace.connection.execute("SELECT name, value FROM views.metadata WHERE source = 'capture'").fetchall()

    assert ("HOSTNAME", "box") in rows
    assert not [row for row in rows if "hf_secret" in str(row)]
