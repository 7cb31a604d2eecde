"""Cold occurrences: the module against the definition pair by pair, and sequences that are not cold.

`tests/unit/trace/test_oracles.py` compares those of whole traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import duckdb
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.duck import create_from_rows
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.sqlmods import all_modules
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import findings_of
from tests.support.cold_reference import ColdStep, Size, cold
from tests.support.examples import examples
from tests.support.trace_builder import TraceBuilder

Found = dict[tuple[str, int], str]
UNKNOWN: Size = (None, None, None, None, None)


# -- sequences -------------------------------------------------------------------------------------------------------


def sized(batch: int, new: int, cached: int) -> Size:
    return f"{batch}x{new}", f"{batch}x{new} @{cached}", batch, batch * new, batch * cached


def steps(
    times: Sequence[float], sizes: Sequence[Size], *, busy: Sequence[float] = (), setups: Sequence[int] = ()
) -> list[ColdStep]:
    """Those that set something up record a graph, and compute nothing if they are not busy."""
    made = []
    for index, (time, size) in enumerate(zip(times, sizes, strict=True)):
        own = int(busy[index]) if busy else 100
        made.append(ColdStep("decode", 1, index, size, int(time), own, index in setups, index in setups and not own))
    return made


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA attribute; CREATE SCHEMA input")
        yield connection


_SIZES = {
    "occurrence_id": "BIGINT", "group_id": "BIGINT", "place": "BIGINT", "label": "VARCHAR", "label_place": "BIGINT",
    "phase_id": "BIGINT", "phase_place": "BIGINT", "is_sized": "BOOLEAN", "batch": "BIGINT", "new_tokens": "BIGINT",
    "cached_tokens": "BIGINT", "time_ns": "BIGINT", "busy_ns": "BIGINT", "own_ns": "BIGINT", "has_setup": "BOOLEAN",
    "is_recording": "BOOLEAN",
}  # fmt: skip


def in_sql(con: duckdb.DuckDBPyConnection, sequence: Sequence[ColdStep]) -> dict[ColdStep, str]:
    """The module itself on rows that a test made up."""
    kinds: dict[object, int] = {}
    places: dict[object, int] = {}

    def place(key: object) -> int:
        places[key] = places.get(key, 0) + 1
        return places[key]

    rows = []
    for number, step in enumerate(sequence):
        label = step.size[1] if step.is_sized else None
        group = kinds.setdefault(step.kind, len(kinds))
        row = (number, group, place(("kind", step.kind)), label, place((step.kind, label)), 0, place("phase"))
        rows.append(
            (*row, step.is_sized, *step.size[2:], step.time, step.busy, step.own, step.has_setup, step.is_recording)
        )
    create_from_rows(con, "attribute._occurrence_sizes", _SIZES, rows)
    con.execute(
        "CREATE OR REPLACE TABLE attribute.phase_ranges AS "
        "SELECT occurrence_id, 'decode' AS phase FROM attribute._occurrence_sizes"
    )
    con.execute(
        "CREATE OR REPLACE TABLE input.step_sizes AS "
        "SELECT occurrence_id, NULL::VARCHAR AS kind FROM attribute._occurrence_sizes"
    )
    found = con.execute(all_modules()["attribute._slow_occurrences"].sql).fetchall()
    return {sequence[row[0]]: row[3] for row in found}


def random_sequence(random: Random) -> list[ColdStep]:
    """Anything: few and many steps, shapes known and not, contexts that repeat, and times from a few values."""
    size = random.choice((2, 3, 5, 12, 60))
    sizes = [
        UNKNOWN if random.random() < 0.1 else sized(random.choice((1, 1, 2)), 1, random.randrange(1, 5))
        for _ in range(size)
    ]
    times = [random.choice((1, 1, 1, 2, 3, 4, 10)) * 10 + random.randrange(3) for _ in range(size)]
    if random.random() < 0.7:
        for index in range(random.randrange(size)):
            times[index] = times[index] * random.choice((1, 4, 10, 100))
    busy = [random.choice((0, 1, 1, 1, 2, 5)) for _ in range(size)]
    setups = [i for i in range(size) if random.random() < random.choice((0, 0.1))]
    made = steps(times, sizes, busy=busy, setups=setups)
    return [replace(step, communicating=random.choice((0, 0, 0, step.busy))) for step in made]


def test_random_sequences_have_the_cold_steps_of_the_definition(con: duckdb.DuckDBPyConnection) -> None:
    random = Random(12)
    reasons: set[str | None] = set()
    for _ in range(examples(100)):
        sequence = random_sequence(random)
        found = in_sql(con, sequence)
        reasons.update(found.values())
        assert found == cold(sequence), sequence
    assert reasons == {"leading", "first_length", "setup", "recording"}


def test_of_many_equal_setups_the_first_are_judged_in_whatever_order_rows_come(con: duckdb.DuckDBPyConnection) -> None:
    setups = range(10, 900, 11)
    times = [1_000 if index in setups else 10 for index in range(1_000)]
    sequence = steps(times, [sized(1, 1, 512)] * len(times), setups=setups)
    first = {sequence[index]: "setup" for index in setups[:64]}
    assert len(setups) > 64
    assert in_sql(con, sequence) == first
    con.execute(
        "CREATE OR REPLACE TABLE attribute._occurrence_sizes AS FROM attribute._occurrence_sizes ORDER BY place DESC"
    )
    found = con.execute(all_modules()["attribute._slow_occurrences"].sql).fetchall()
    assert {sequence[row[0]]: row[3] for row in found} == first


def noise(random: Random) -> float:
    return random.lognormvariate(0, 0.2)


def steady_decode(random: Random) -> list[ColdStep]:
    """Requests of one shape, as noisy as hosts are."""
    contexts = [512 + index for _ in range(random.choice((1, 2, 3))) for index in range(random.choice((2, 8, 31)))]
    return steps([1e6 * noise(random) for _ in contexts], [sized(1, 1, each) for each in contexts])


def few_repeats(random: Random) -> list[ColdStep]:
    count = random.choice((2, 3))
    return steps([1e6 * noise(random) for _ in range(count)], [sized(8, 512, 0)] * count)


def other_lengths(random: Random) -> list[ColdStep]:
    """Prompts of other lengths, the longest first; nobody says which."""
    lengths = sorted((random.choice((64, 512, 4096, 16384)) for _ in range(6)), reverse=True)
    work = [length * 50 * noise(random) for length in lengths]
    return steps([max(1e5, each) + 2e4 * noise(random) for each in work], [UNKNOWN] * 6, busy=work)


def context_growth(random: Random) -> list[ColdStep]:
    """A long context first, then short ones, then growth without end."""
    contexts = [100_000, 100_001, *range(100, 130), *range(1000, 60_000, 1000)]
    return steps(
        [1e6 * (1 + each / 5000) * noise(random) for each in contexts], [sized(1, 1, each) for each in contexts]
    )


def alternating(random: Random) -> list[ColdStep]:
    """Every second step is five times slower, in requests of an odd number of steps."""
    contexts = [512 + index for _ in range(3) for index in range(7)]
    times = [1e6 * noise(random) * (5 if index % 2 == 0 else 1) for index in range(len(contexts))]
    return steps(times, [sized(1, 1, each) for each in contexts] if random.random() < 0.5 else [UNKNOWN] * 21)


def allocates_always(random: Random) -> list[ColdStep]:
    """Every third step allocates, and is slower for it: the program is like that."""
    times = [1e6 * noise(random) * (5 if index % 3 == 2 else 1) for index in range(30)]
    return steps(times, [sized(1, 1, 512 + index) for index in range(30)], setups=range(2, 30, 3))


@pytest.mark.parametrize(
    "make",
    [steady_decode, few_repeats, other_lengths, context_growth, alternating, allocates_always],
    ids=lambda make: make.__name__,
)
def test_no_false_alarm(make: object, con: duckdb.DuckDBPyConnection) -> None:
    random = Random(1)
    sequences = [make(random) for _ in range(200)]  # type: ignore[operator]

    assert [cold(each) for each in sequences if cold(each)] == []
    assert [found for found in (in_sql(con, each) for each in sequences[:20]) if found] == []


@pytest.mark.parametrize("repeats", [2, 3, 33])
def test_a_first_step_that_compiles_is_cold(repeats: int, con: duckdb.DuckDBPyConnection) -> None:
    random = Random(repeats)
    times = [18e9, *(1e6 * noise(random) for _ in range(repeats - 1))]
    for sizes in ([UNKNOWN] * repeats, [sized(1, 1, 512 + index) for index in range(repeats)]):
        sequence = steps(times, sizes)

        assert in_sql(con, sequence) == cold(sequence) == {sequence[0]: "leading"}


def test_steps_whose_length_is_new_are_cold(con: duckdb.DuckDBPyConnection) -> None:
    contexts = [512 + index for _ in range(2) for index in range(16)]
    times = [32e6] * 16 + [8e6] * 16
    sequence = steps(times, [sized(2, 1, each) for each in contexts])

    assert in_sql(con, sequence) == cold(sequence) == dict.fromkeys(sequence[:16], "first_length")


@pytest.mark.parametrize("at", [7, 11])
def test_a_step_in_the_middle_that_records_a_graph_is_cold(at: int, con: duckdb.DuckDBPyConnection) -> None:
    times = [1e6] * 12
    times[at] = 50e6
    sequence = steps(times, [sized(1, 1, 512 + index) for index in range(12)], setups=[at])

    assert in_sql(con, sequence) == cold(sequence) == {sequence[at]: "setup"}


# -- options ---------------------------------------------------------------------------------------------------------


def test_what_counts_is_told_anew_and_never_kept_in_the_cache(tmp_path: Path) -> None:
    """A step that compiles for 18 s is left out, counted with `keep_cold`, and in the cache of neither."""
    trace = TraceBuilder()
    main, at = trace.process().thread(), 0
    for wall in (18_000_000, 1_000, 1_000, 1_000):
        main.push(at, at + wall, "decode").launch(at + wall - 900, gpu=(at + wall - 895, at + wall - 5))
        at += wall
    path = trace.write(tmp_path / "trace.sqlite")

    def busy(options: AnalysisOptions, cache: Path | None) -> tuple[int, int, float]:
        with open_trace(path, TraceOptions(use_cache=cache is not None, cache_dir=cache)) as opened:
            (phase,) = analyze(opened, options).phases
            return phase.cold_occurrences, phase.budget.total_ns, round(phase.busy_ratio or 0, 3)

    plain, kept, told = (
        AnalysisOptions(),
        AnalysisOptions(keep_cold=True),
        AnalysisOptions(shapes=(RequestShape(1, 8),)),
    )
    uncached = {options.keep_cold: busy(options, None) for options in (plain, kept)}
    assert uncached == {False: (1, 3_000, 0.89), True: (0, 18_003_000, 0.0)}
    for options in (told, kept, plain, kept):
        assert busy(options, tmp_path / "cache") == uncached[options.keep_cold]
    assert busy(told, None) == uncached[False]


# -- ranks that wait -------------------------------------------------------------------------------------------------


def test_busy_time_that_is_compared_has_no_communication(tmp_path: Path) -> None:
    """The first step waits 100 µs in its collective, half of which compute hides; the last one has nothing but one."""
    trace = TraceBuilder()
    main, name = trace.process().thread(), "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
    main.push(0, 200_000, "decode").launch(10, gpu=(1_000, 51_000), name="gemm")
    main.launch(20, gpu=(1_000, 101_000), name=name, stream=8)
    main.push(200_000, 400_000, "decode").launch(200_010, gpu=(201_000, 251_000), name="gemm")
    main.push(400_000, 600_000, "decode").launch(400_010, gpu=(401_000, 411_000), name=name)
    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build("attribute._occurrence_sizes")
        rows = opened.connection.execute("SELECT busy_ns, own_ns FROM attribute._occurrence_sizes ORDER BY place")
        assert rows.fetchall() == [(100_000, 50_000), (50_000, 50_000), (10_000, 0)]


def test_steps_that_wait_for_another_rank_are_not_cold(con: duckdb.DuckDBPyConnection) -> None:
    """One sequence, then four: the first ones wait in collectives, which is most of their GPU busy time."""
    sizes = [sized(1, 1, 128)] * 2 + [sized(4, 1, 1024)] * 20
    made = steps([1e6] * 22, sizes, busy=[900_000] * 2 + [200_000] * 20)
    waiting = [replace(step, communicating=step.busy - 100_000) for step in made]

    assert in_sql(con, made) == cold(made) == dict.fromkeys(made[:2], "leading")
    assert in_sql(con, waiting) == cold(waiting) == {}


def test_cold_ones_without_others_say_so(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main, at = trace.process().thread(), 0
    for wall in (9_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000):
        main.push(at, at + wall, "prefill").launch(at + wall - 900, gpu=(at + wall - 895, at + wall - 5))
        at += wall
    path = trace.write(tmp_path / "trace.sqlite")
    shapes = (RequestShape(1, 8), *(RequestShape(2, 8),) * 4)
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        messages = [one.message for one in findings_of(opened, AnalysisOptions(shapes=shapes))]

    (told,) = [message for message in messages if "left out as cold" in message]
    assert "1 of 1 occurrences of prefill of 1x8" in told
    assert told.endswith("; there are no others")


@pytest.mark.parametrize("is_longer", [False, True])
def test_the_first_request_is_cold_where_lengths_are_not_known(is_longer: bool, tmp_path: Path) -> None:
    """Five requests of a prefill and four decode steps of 10 ms each; all of the first take 60, a fifth of each phase.

    Where the GPU works six times as long, too, its prompt may be six times as long.
    """
    trace = TraceBuilder().gpu()
    main, at, ms = trace.process().thread(), 0, 1_000_000
    for request in range(5):
        started = at
        for phase in ("prefill", *["decode"] * 4):
            length = (10 if request else 60) * ms
            main.launch(at + 1, gpu=(at + 10, at + (length if is_longer else 10 * ms) - 10))
            main.push(at, at + length - 2, phase, domain="llmperf")
            at += length
        main.push(started, at - 1, "request", domain="llmperf")

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build("attribute.occurrences")
        found = opened.connection.execute(
            "SELECT phase, occurrence FROM attribute.occurrences WHERE is_cold ORDER BY start_ns"
        ).fetchall()
        messages = [one.message for one in findings_of(opened)]

    assert found == ([] if is_longer else [("prefill", 0), *(("decode", index) for index in range(4))])
    told = "left out as cold: 4 of 20 occurrences of decode (the first at their place in a request)"
    assert any(message.startswith(told) for message in messages) == (not is_longer)
