"""Compute that slows down beside communication: against a count by hand of each ns, on null data, and on two GPUs."""

from __future__ import annotations

from collections import defaultdict
from math import sqrt
from pathlib import Path
from random import Random
from statistics import fmean, variance

import attrs
import duckdb
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.query.session import Session
from nsys_pipeline.sqlmods import all_modules, macro_ddl
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, ask_session, open_session
from tests.support.examples import examples
from tests.support.planted_causes import beside_communication
from tests.support.trace_builder import TraceBuilder

DDP = Path(__file__).resolve().parents[2] / "jobs" / "h200x2_ddp.sqlite.xz"
ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
QUERY = """
    SELECT name, beside_count, alone_count, beside_ns, expected_ns, slowed_ns, error_ns FROM overlap_slowdown
    ORDER BY name"""

# Kinds of work that are compared, and those of them that hold more than one launch configuration.
GRIDS = """
    WITH kind AS (
        SELECT count(DISTINCT (grid_x, grid_y, grid_z, block_x, dynamic_shared_bytes)) AS grids
        FROM attribute._compute_beside_communication JOIN load.launch_configs USING (op_id)
        GROUP BY kind_hash
        HAVING count(*) FILTER (2 * beside_ns >= dur_ns) >= 5 AND count(*) FILTER (beside_ns = 0) >= 5
    )
    SELECT count(*) AS kinds, count(*) FILTER (grids > 1) AS mixed FROM kind"""


@attrs.frozen
class Kernel:
    """One kernel of the random trace."""

    name: str
    stream: tuple[int, int]
    start: int
    end: int


def random_kernels(random: Random) -> list[Kernel]:
    """Two GPUs with a stream that communicates and one or two that compute: within, across, apart, touching."""
    found = []
    for device in (0, 1):
        for stream in (7, 20, *([8] if device else [])):
            at = random.randrange(50)
            for _ in range(30 if stream != 20 else 12):
                at += random.choice((0, 0, 1, 40) if stream == 7 else (0, 30, 400) if stream == 8 else (0, 30, 100))
                end = at + random.randrange(1, 60)
                name = ALL_REDUCE if stream == 20 else random.choice("aab")
                found.append(Kernel(name, (device, stream), at, end))
                at = end
    return found


def by_hand(kernels: list[Kernel]) -> dict[str, list[float]]:
    """The view's answer, by a look at each kernel and each ns."""
    talking: dict[int, set[int]] = defaultdict(set)
    for kernel in kernels:
        if kernel.name == ALL_REDUCE:
            talking[kernel.stream[0]].update(range(kernel.start, kernel.end))
    computing = [kernel for kernel in kernels if kernel.name != ALL_REDUCE]
    kinds: dict[tuple[object, ...], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for kernel in computing:
        length = kernel.end - kernel.start
        others = [k for k in computing if k.stream[0] == kernel.stream[0] and k is not kernel]
        hidden = [min(k.end, kernel.end) - max(k.start, kernel.start) for k in others]
        line = sorted((k for k in computing if k.stream == kernel.stream), key=lambda k: k.start)
        place = line.index(kernel)
        around = [line[at].name if 0 <= at < len(line) else None for at in range(place - 4, place + 5)]
        beside = sum(ns in talking[kernel.stream[0]] for ns in range(kernel.start, kernel.end))
        if not any(10 * ns > length for ns in hidden) and (2 * beside >= length or beside == 0):
            kinds[(kernel.stream[0], *around)][0 if beside else 1].append(length)
    rows: dict[str, list[float]] = defaultdict(lambda: [0.0] * 6)
    for kind, (beside_ns, alone_ns) in kinds.items():
        if min(len(beside_ns), len(alone_ns)) >= 5:
            n = len(beside_ns)
            row = rows[str(kind[5])]
            row[0] += n
            row[1] += len(alone_ns)
            row[2] += sum(beside_ns)
            row[3] += n * fmean(alone_ns)
            row[5] += n * n * (variance(beside_ns) / n + variance(alone_ns) / len(alone_ns))
    return {
        name: [n, m, took, alone, took - alone, sqrt(spread)] for name, (n, m, took, alone, _, spread) in rows.items()
    }


@pytest.mark.parametrize("seed", range(examples(2, 15)))
def test_the_view_agrees_with_counting_each_ns(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    # Few names, so that kinds have enough kernels: most neighbours are alike.
    kernels = [
        attrs.evolve(k, name="a" if k.name == "b" and random.random() < 0.9 else k.name) for k in random_kernels(random)
    ]
    kernels += [
        attrs.evolve(k, start=k.start + shift, end=k.end + shift)
        for shift in range(10_000, 60_000, 10_000)
        for k in kernels
    ]
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 70_000, "backward")
    for at, kernel in enumerate(kernels):
        device, stream = kernel.stream
        main.launch(3 * at, gpu=(kernel.start, kernel.end), name=kernel.name, device=device, stream=stream)

    expected = by_hand(kernels)
    found = [line.split(",") for line in ask(trace, QUERY, tmp_path).splitlines()[1:]]

    assert expected
    assert [name for name, *_ in found] == sorted(expected)
    for name, *numbers in found:
        assert [int(number) for number in numbers] == pytest.approx(expected[name], abs=0.501)


def test_kernels_that_are_no_slower_are_not_told(tmp_path: Path) -> None:
    """Two hundred kernels beside communication and two hundred without, of random lengths: no alarm in any trace."""
    for seed in range(examples(2, 15)):
        path = beside_communication(100)(Random(seed)).write(tmp_path / f"{seed}.sqlite")
        assert ask(path, "SELECT name, is_significant FROM overlap_slowdown", tmp_path).endswith(",false")


def test_a_planted_slowdown_has_its_size(tmp_path: Path) -> None:
    answer = ask(
        beside_communication(140)(Random(1)),
        "SELECT beside_ns / expected_ns, is_significant FROM overlap_slowdown",
        tmp_path,
    )

    ratio, significant = answer.splitlines()[1].split(",")
    assert float(ratio) == pytest.approx(1.4, abs=0.03)
    assert significant == "true"


def test_communication_may_be_launched_in_a_phase_of_its_own(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(3):
        start = 10_000 * step
        main.push(start, start + 100, "exchange").push(start + 100, start + 9_000, "forward")
        main.launch(start + 10, gpu=(start + 4_000, start + 8_000), name=ALL_REDUCE, stream=20)
        for at in range(start + 200, start + 8_000, 200):
            main.launch(at, gpu=(at + 10, at + (150 if at >= start + 4_000 else 110)), name="gemm")

    answer = ask(trace, "SELECT phase, name, beside_ns / expected_ns FROM overlap_slowdown", tmp_path)

    assert answer.splitlines()[1:] == ["forward,gemm,1.4"]


def test_few_kernels_say_nothing(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread().push(0, 2000, "backward")
    for at in range(8):
        main.launch(at * 5, gpu=(1000 + 50 * at, 1040 + 50 * at), name="gemm")
    main.launch(100, gpu=(1200, 1390), name=ALL_REDUCE, stream=20)

    with open_session(trace, tmp_path) as session:
        assert ask_session(session, QUERY).count("\n") == 0
        assert ask_session(session, "SELECT code FROM findings WHERE code = 'slowed_by_overlap'").count("\n") == 0


def test_products_of_two_gpus_are_slowed_beside_gradients() -> None:
    with open_trace(DDP, TraceOptions(use_cache=False)) as trace:
        found = {cause.phase: cause for cause in analyze(trace).causes if cause.code == "slowed_by_overlap"}
        with Session.of(trace) as session:
            grids = ask_session(session, GRIDS)

    assert list(found) == ["backward"]
    assert found["backward"].at_stake_ns == 21_380_282
    assert "take 30 % longer" in found["backward"].message
    assert "nvjet_sm90_tst_128x256_64x4_2x1_v_bz_coopA_NTN" in found["backward"].message
    # Neighbours stand for the shape, which analysis does not read: they hold it apart but for two elementwise kernels.
    assert grids.splitlines()[1] == "92,2"


def test_variance_is_the_same_to_the_bit_in_any_order_of_rows() -> None:
    """`var_samp` is not: what it adds up depends on the order, which threads decide."""
    values = [pow(7, at, 1_000_003) for at in range(150_000)]
    found = set()
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA macros")
        connection.execute(macro_ddl(all_modules()["macros.sample_variance"]))
        for seed in range(3):
            Random(seed).shuffle(values)
            connection.execute("CREATE OR REPLACE TABLE kind AS SELECT unnest($values) AS v", {"values": values})
            found |= set(
                connection.execute(
                    "SELECT macros.sample_variance(count(*), sum(v), sum(v::HUGEINT * v)) FROM kind"
                ).fetchall()
            )

    assert [one for (one,) in found] == [pytest.approx(variance(values), rel=1e-14)]


@pytest.mark.parametrize("is_measured", [True, False])
def test_work_outside_every_phase_counts_in_measured_time_alone(is_measured: bool, tmp_path: Path) -> None:
    """Twenty kernels alone, twenty that take 40 % longer beside communication, in no phase: in a request, or not."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for index in range(40):
        main.launch(10 * index, gpu=(at := 1_000 + 1_000 * index, at + (500 if index < 20 else 700)), name="gemm")
    main.launch(405, gpu=(21_000, 41_000), name=ALL_REDUCE, stream=20)
    main.push(0 if is_measured else 50_000, 60_000, "request").push(50_100, 55_000, "decode")
    main.launch(50_200, gpu=(50_300, 54_000), name="gemm")

    # those at either end have other neighbours
    found = ask(trace, "SELECT beside_count, alone_count, slowed_ns FROM overlap_slowdown", tmp_path).splitlines()[1:]

    assert found == (["16,16,3200"] if is_measured else [])
