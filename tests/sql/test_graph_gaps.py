"""Idle time between the nodes of CUDA graphs: counted ns by ns, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from nsys_pipeline.query.recipes import find_recipe
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, report_of, table
from tests.support.trace_builder import TraceBuilder

MS = 1_000_000


def gap_ns(path: Path) -> int:
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.graph_gaps")
        ((time, gaps),) = trace.connection.execute(
            "SELECT coalesce(sum(gap_ns), 0), coalesce(sum(gap_count), 0) FROM attribute.graph_gaps"
        ).fetchall()
    assert (time > 0) == (gaps > 0)
    return int(time)


@pytest.mark.parametrize("seed", range(3))
def test_gaps_agree_with_counting_each_ns(seed: int, tmp_path: Path) -> None:
    # given launches of graphs and of single kernels, on two streams, all in one phase
    random = Random(seed)
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 4000, "decode")
    works: list[tuple[int, int, int, int]] = []  # start, end, number of the launch, its return
    at = 10
    for number in range(14):
        is_graph, stream = random.random() < 0.7, random.choice((7, 8))
        start = at + random.randrange(1, 60)
        nodes = []
        for _ in range(random.randrange(2, 6) if is_graph else 1):
            nodes.append((start, start + random.randrange(1, 20)))
            start = nodes[-1][1] + random.randrange(0, 25)
        if is_graph:
            main.graph_launch(at, nodes=nodes, stream=stream, until=at + 9)
        else:
            main.launch(at, gpu=nodes[0], stream=stream, until=at + 9)
        works += [(*node, number, at + 9) for node in nodes]
        at += random.randrange(10, 90)
    expected = 0
    for ns in range(max(end for _, end, _, _ in works)):
        if any(start <= ns < end for start, end, _, _ in works):
            continue
        coming = [work for work in works if work[0] > ns]
        _, _, launch, returned = min(coming, key=lambda work: work[0])
        expected += ns >= returned and any(start <= ns for start, _, number, _ in works if number == launch)

    assert expected > 0
    assert gap_ns(trace.write(tmp_path / "trace.sqlite")) == expected


def test_nobody_launches_the_nodes_of_a_graph(tmp_path: Path) -> None:
    # given ten steps: a call of 1 ms, then three nodes of 2 ms with 1 ms before the second and the third
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(10):
        at = 20 * step * MS
        main.push(at, at + 10 * MS, "decode")
        first = at + MS
        nodes = [(first + 3 * place * MS, first + (3 * place + 2) * MS) for place in range(3)]
        main.graph_launch(at, nodes=nodes, until=at + MS)

    report = report_of(trace, tmp_path)

    (decode,) = report.phases
    assert (decode.budget.launch_ns, decode.budget.latency_ns) == (10 * MS, 20 * MS)
    (told,) = [one for one in report.findings if one.code == "gaps_in_graphs"]
    assert (told.at_stake_ns, told.budget_part) == (20 * MS, "latency")
    assert told.message.startswith(
        "in decode the GPU is idle for 20.0 ms between the nodes of CUDA graphs (20 gaps of 1000.0 µs on average)"
    )
    # 30 of 100 ms are of the classes launch and latency, but only 10 are of launches
    assert "launch_bound_steps" not in {one.code for one in report.findings}
    assert "launch latency" not in (decode.bound_detail or "")


def test_nodes_side_by_side_count_once_in_the_recipe(tmp_path: Path) -> None:
    # given a launch of 100 µs whose nodes run from 0 to 40, from 10 to 50 and from 75 to 100
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 200_000, "decode")
    main.graph_launch(10, nodes=[(1_000, 41_000), (11_000, 51_000), (76_000, 101_000)])
    recipe = find_recipe("graph_gaps")

    answer = ask(trace, recipe.sql, tmp_path, recipe.arguments({}))

    assert answer == table("""
        phase,  graph_id, launches, node_count, mean_ns,  gap_ratio
        decode, 1,        1,        3.0,        100000.0, 0.25
    """)
