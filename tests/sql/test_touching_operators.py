"""Calls of operators that touch, as they do in traces of whole microseconds."""

from __future__ import annotations

from pathlib import Path

from tests.support.ask import ask, table
from tests.support.trace_builder import TraceBuilder


def test_a_launch_where_two_calls_touch_is_the_second_ones(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 1_000, "forward")
    main.push(100, 200, "aten::linear").push(150, 200, "aten::mm").push(200, 300, "aten::add").push(
        400, 500, "aten::mul"
    )
    main.launch(160, gpu=(300, 320)).launch(200, gpu=(400, 500)).launch(250, gpu=(500, 550)).launch(500, gpu=(600, 607))

    query = "SELECT operator, gpu_time_ns, gpu_self_ns FROM operators ORDER BY operator"
    assert ask(trace, query, tmp_path) == table("""
        operator,     gpu_time_ns, gpu_self_ns
        aten::add,    150,         150
        aten::linear, 20,          0
        aten::mm,     20,          20
        aten::mul,    7,           7
    """)
