"""Random compositions of real traces: pieces on threads and processes of their own, and one after the other on one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from nsys_pipeline.infer import COLUMNS, Launch, infer
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.examples import examples
from tests.support.real_traces import unpack_by_name

NAMES = ("h100_cuda_graph_whole", "h100_gpu_metrics", "h100_torch_compile", "h100_mixtral_small", "h100_train")
QUERY = f"""
    SELECT {", ".join(f"t.{column}" for column in COLUMNS)}, p.phase
    FROM attribute._telling_launches AS t
    LEFT JOIN attribute.gpu_work AS w ON w.op_id = t.op_id
    LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    ORDER BY t.global_tid, t.launch_start_ns, t.start_ns, t.op_id
"""


class Told(NamedTuple):
    """A launch, and the phase that its range says."""

    launch: Launch
    phase: str | None


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[list[Told]]:
    folder: Path = tmp_path_factory.mktemp("traces")
    found = []
    for name in NAMES:
        with open_trace(unpack_by_name(name, folder), TraceOptions(use_cache=False)) as trace:
            trace.build("attribute._telling_launches", "attribute.gpu_work", "attribute.phase_ranges")
            rows = trace.connection.execute(QUERY).fetchall()
        found.append([Told(Launch(*row[:-1]), row[-1]) for row in rows])
    return found


def moved(part: list[Told], *, process: int, thread: int, at_ns: int) -> list[Told]:
    """The same launches elsewhere: other process, other threads, from `at_ns` on."""
    first = min(one.launch.start_ns for one in part)
    threads = {tid: thread + index for index, tid in enumerate(sorted({one.launch.global_tid for one in part}))}
    return [
        one._replace(
            launch=one.launch._replace(
                process_key=process,
                global_tid=threads[one.launch.global_tid],
                start_ns=one.launch.start_ns - first + at_ns,
                end_ns=one.launch.end_ns - first + at_ns,
            )
        )
        for one in part
    ]


def continued(before: list[Told], part: list[Told]) -> list[Told]:
    """`part` on the thread of `before`, after it: its counters go on."""
    last, base = before[-1].launch, part[0].launch
    counters = ("gemms", "tile_rows", "activations", "activation_blocks", "stores")
    shift = {name: getattr(last, name) - getattr(base, name) for name in counters}
    return [
        one._replace(
            launch=one.launch._replace(
                process_key=last.process_key,
                global_tid=last.global_tid,
                start_ns=one.launch.start_ns - base.start_ns + last.end_ns + 1_000,
                end_ns=one.launch.end_ns - base.start_ns + last.end_ns + 1_000,
                **{name: getattr(one.launch, name) + value for name, value in shift.items()},
            )
        )
        for one in part
    ]


def ordered(launches: list[Told]) -> list[Launch]:
    return [one.launch for one in sorted(launches, key=lambda one: (one.launch.global_tid, one.launch.start_ns))]


def wrong_names(launches: list[Told]) -> Iterator[tuple[str, str]]:
    """(inferred, marked) of each attention launch in a phase of another name."""
    phases = infer(ordered(launches)).phases
    for one in launches:
        if one.launch.role not in ("attention", "graph") or one.phase is None:
            continue
        for phase in phases:
            if phase.global_tid == one.launch.global_tid and phase.start_ns <= one.launch.start_ns <= phase.end_ns:
                if phase.phase != one.phase and not phase.phase.startswith("repeat "):
                    yield phase.phase, one.phase
                break


@pytest.mark.parametrize("seed", range(6))
def test_processes_beside_each_other_do_not_change_each_other(parts: list[list[Told]], seed: int) -> None:
    random = Random(seed)
    chosen = random.sample(parts, 3)
    placed = [
        moved(part, process=index + 1, thread=10 * index, at_ns=random.randrange(10**9))
        for index, part in enumerate(chosen)
    ]

    together = infer(ordered([one for part in placed for one in part])).phases

    assert together
    alone = [phase for part in placed for phase in infer(ordered(part)).phases]
    names = [(one.process_key, one.global_tid, one.start_ns, one.end_ns) for one in together]
    assert names == [(one.process_key, one.global_tid, one.start_ns, one.end_ns) for one in alone]


@pytest.mark.parametrize("seed", range(examples(8, 30)))
def test_pieces_one_after_the_other_are_not_misnamed(parts: list[list[Told]], seed: int) -> None:
    random = Random(seed)
    pieces: list[Told] = []
    for part in random.sample(parts, 3):
        main = max(
            {one.launch.global_tid for one in part}, key=lambda tid: sum(one.launch.global_tid == tid for one in part)
        )
        mine = [one for one in part if one.launch.global_tid == main]
        start = random.randrange(len(mine) // 2)
        piece = mine[start : start + random.randrange(2, len(mine))]
        pieces += continued(pieces, piece) if pieces else piece
    assert list(wrong_names(pieces)) == []


@pytest.mark.parametrize("seed", range(10))
def test_traces_that_start_and_stop_anywhere_are_not_misnamed(parts: list[list[Told]], seed: int) -> None:
    random = Random(100 + seed)
    for part in parts:
        times = sorted(one.launch.start_ns for one in part)
        start, stop = sorted(random.sample(times, 2))
        assert list(wrong_names([one for one in part if start <= one.launch.start_ns <= stop])) == []
