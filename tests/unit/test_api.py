"""Traces from Python."""

from __future__ import annotations

import copy
import doctest
import inspect
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import nsys_pipeline as llmperf
from nsys_pipeline.api import TraceReader, open_reader
from nsys_pipeline.errors import QueryError, TraceError, UsageError
from nsys_pipeline.query.views import public_views
from tests.support.edge_traces import EDGE_TRACES
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import TraceBuilder

LLAMA = {"model": "llama-3.2-1b", "shapes": ["1x128+4", "1x2048+32", "8x512+32", "1x128+64"]}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceReader]:
    path = EDGE_TRACES["work_of_every_kind"]().write(tmp_path_factory.mktemp("api") / "trace.sqlite")
    with llmperf.open(path, cache=False) as opened:
        yield opened


def test_open_takes_what_reads_a_trace_and_leaves_out_the_same() -> None:
    """`open` only hands over: a default of its own would be something that nobody told."""
    defaults = {
        call: {name: parameter.default for name, parameter in inspect.signature(call).parameters.items()}
        for call in (llmperf.open, open_reader)
    }
    assert defaults[llmperf.open] == defaults[open_reader]


def test_importing_costs_little() -> None:
    """Nothing heavy is imported; the best of some tries, because other processes share the machine."""
    program = (
        "import sys, time; t = time.perf_counter(); import nsys_pipeline; t = time.perf_counter() - t; "
        "print(t, *(m for m in ('torch', 'duckdb', 'polars', 'rich', 'typer') if m in sys.modules))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    seconds, *heavy = min(run.stdout.split() for run in runs)
    assert heavy == []
    assert float(seconds) < 0.15


def test_every_view_is_an_attribute(trace: TraceReader) -> None:
    views = [module.relation for module in public_views()]
    assert trace.views == views
    for view in views:
        frame = getattr(trace, view)
        assert isinstance(frame, pl.DataFrame)
        assert frame.columns == trace.schema(view)["column"].to_list()
        assert getattr(TraceReader, view).__doc__
    assert trace.phases is trace.phases


def test_values_and_types(trace: TraceReader) -> None:
    frame = trace.sql("SELECT phase, sum(dur_ns) AS time_ns, count(*) AS n FROM gpu_work GROUP BY phase ORDER BY phase")
    assert frame.schema == {"phase": pl.String, "time_ns": pl.Int64, "n": pl.Int64}
    assert frame.rows() == [("prefill", 18, 4)]
    assert trace.sql("SELECT $x + 1 AS y", {"x": 1})["y"].to_list() == [2]
    assert trace.sql("SELECT ? AS y", [5])["y"].to_list() == [5]
    wide = trace.sql("SELECT 170141183460469231731687303715884105727 AS x")
    assert wide["x"].to_list() == [2**127 - 1]


def test_errors(trace: TraceReader, tmp_path: Path) -> None:
    with pytest.raises(QueryError) as raised:
        trace.sql("FROM phass")
    assert raised.value.hint == "did you mean `phases` or `phase_summary`?"
    with pytest.raises(QueryError, match="DROP is refused"):
        trace.sql("DROP SCHEMA report")
    with pytest.raises(QueryError, match="there is no view `phase`"):
        trace.view("phase")
    with pytest.raises(TraceError):
        llmperf.open(tmp_path / "missing.sqlite")
    with pytest.raises(AttributeError):
        _ = trace.no_such_view


def test_limits_of_goodput_are_text(tmp_path: Path) -> None:
    for wrong in (5, {"ttft": 500}):
        with pytest.raises(UsageError, match="is no limit for goodput") as refused:
            llmperf.open(tmp_path / "trace.sqlite", goodput=wrong)  # type: ignore[arg-type]
        assert "ttft:500" in (refused.value.hint or "")


def test_report_recipe_and_connection(trace: TraceReader) -> None:
    report = trace.report()
    assert {phase.name: phase.kernel_count for phase in report.phases} == {"prefill": 2, "decode": 0}
    assert all(check.passed for check in report.checks)
    assert trace.recipe("top_kernels", top=1)["name"].to_list() == ["kernel"]
    assert "top_kernels" in trace.recipes
    con = trace.connection
    con.execute("CREATE TABLE memory.main.mine AS SELECT count(*) AS n FROM kernels")
    assert con.execute("FROM memory.main.mine").fetchall() == [(2,)]


def test_html_names_the_trace_and_its_phases(trace: TraceReader) -> None:
    html = trace._repr_html_()
    assert "<b>trace.sqlite</b>" in html
    assert "prefill" in html
    assert "trace.sqlite" in repr(trace)


def test_flops_of_two_models() -> None:
    """Utilization follows the model that is asked for, and the trace keeps its own."""
    with llmperf.open(TRACES / f"h100_llama1b{SUFFIX}", **LLAMA) as trace:  # type: ignore[arg-type]
        before = trace.flops()
        # the first prefill, 1x128, is cold and left out
        assert before.filter(pl.col("phase") == "prefill")["flops"].to_list() == [12_625_352_065_024]
        larger = trace.flops("llama-3.2-3b")
        assert (larger["flops"] > before["flops"]).all()
        assert trace.flops().equals(before)
        assert trace.ops["flops"].sum() > 0
        assert trace.flops(shapes="1x64+4").filter(pl.col("phase") == "prefill")["flops"].item() < before["flops"].max()


def test_flops_say_where_they_are_a_lower_bound(tmp_path: Path) -> None:
    """A tower that nobody counts may have run in the prefill; it runs in no decode step, and a model may have none."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at, name, mark in ((0, "prefill", '"q":64,"kv":0'), (1_000, "decode", '"q":1,"kv":64')):
        main.push(at, at + 900, name, domain="llmperf").launch(at + 50, gpu=(at + 100, at + 800))
        main.mark(at + 1, f'llmperf.step {{"b":1,{mark},"logits":1}}', domain="llmperf")
    text = {
        "model_type": "qwen2_5_vl", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "torch_dtype": "bfloat16",
    }  # fmt: skip
    tower = {
        "model_type": "qwen2_5_vl", "depth": 2, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4,
        "patch_size": 14, "spatial_merge_size": 2, "window_size": 112, "fullatt_block_indexes": [1],
        "out_hidden_size": 256,
    }  # fmt: skip
    seeing, blind = tmp_path / "seeing.json", tmp_path / "blind.json"
    seeing.write_text(json.dumps(text | {"vision_config": tower}))
    blind.write_text(json.dumps(text | {"model_type": "qwen2"}))

    with llmperf.open(trace.write(tmp_path / "trace.sqlite"), cache=False) as opened:
        bounds = {
            model: dict(opened.flops(model).select("phase", "is_lower_bound").iter_rows())
            for model in (None, str(seeing), str(blind))
        }

    assert bounds == {
        None: {"prefill": None, "decode": None},
        str(seeing): {"prefill": True, "decode": False},
        str(blind): {"prefill": False, "decode": False},
    }


def test_threads_read_side_by_side() -> None:
    """Each thread gets the same answers as one alone, views being built meanwhile."""
    with llmperf.open(TRACES / f"h100_train{SUFFIX}", cache=False) as trace:
        queries = [
            "FROM phases ORDER BY ALL",
            "SELECT count(*), sum(dur_ns) FROM kernels",
            "FROM gpu_busy ORDER BY ALL",
            "SELECT count(*) FROM api_calls",
            "SELECT count(*) FROM nsys.NVTX_EVENTS",
        ]
        found: dict[int, list[pl.DataFrame]] = {}
        errors: list[BaseException] = []

        def read(index: int) -> None:
            try:
                found[index] = [trace.sql(query) for query in queries[index:] + queries[:index]]
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=read, args=(index,)) for index in range(len(queries))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        alone = [trace.sql(query) for query in queries]
        for index, frames in found.items():
            rotated = alone[index:] + alone[:index]
            assert all(one.equals(other) for one, other in zip(frames, rotated, strict=True))


def test_doctests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of docs/python.md, on the trace that they name."""
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root)
    results = doctest.testfile(
        str(root / "docs" / "python.md"),
        module_relative=False,
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert results.attempted >= 10
    assert results.failed == 0


def test_a_closed_trace_says_so_and_its_frames_stay(tmp_path: Path) -> None:
    path = EDGE_TRACES["work_of_every_kind"]().write(tmp_path / "trace.sqlite")
    trace = llmperf.open(path, cache=False)
    kernels = trace.kernels
    trace.close()
    trace.close()

    assert trace.kernels is kernels
    assert kernels.height == 2
    uses: list[Callable[[], object]] = [
        lambda: trace.sql("SELECT 1"), lambda: trace.gpu_work, trace.report, lambda: trace.connection, trace.flops,
        lambda: trace.flops("tiny-llama"), lambda: trace.recipe("top_kernels"), trace.__enter__,
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(UsageError, match="is closed") as raised:
            use()
        assert "llmperf.open" in str(raised.value.hint)
    assert "closed" in repr(trace)
    assert "closed" in trace._repr_html_()


def test_an_open_trace_stays_in_its_process(trace: TraceReader) -> None:
    for send in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(UsageError, match="another process") as raised:
            send(trace)
        assert "open it there" in str(raised.value.hint)
    assert pickle.loads(pickle.dumps(trace.report())) == trace.report()


def test_errors_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(QueryError("what", hint="do that")))
    assert (type(error), error.message, error.hint) == (QueryError, "what", "do that")


def test_opened_twice_both_answer(tmp_path: Path) -> None:
    path = EDGE_TRACES["work_of_every_kind"]().write(tmp_path / "trace.sqlite")
    with llmperf.open(path) as one, llmperf.open(path) as other:
        assert one.kernels.equals(other.kernels)
        one.close()
        assert other.sql("SELECT count(*) AS n FROM kernels")["n"].item() == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT", "SELECT"),
        ("", "no query"),
        (None, "a text, not NoneType"),
        ("SELECT 'a'::INT", "Could not convert"),
        ("SELECT error('x')", "x"),
        ("SELECT INTERVAL 1 DAY AS i", "column `i` has the type INTERVAL"),
        ("SELECT [{'u': union_value(a := 1)}] AS u", "column `u` has the type UNION"),
        ("FROM '/nowhere/x.bin'", "may not read files"),
    ],
)
def test_queries_that_fail_raise_query_errors(trace: TraceReader, query: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        trace.sql(query)
    assert trace.sql("SELECT 1 AS x")["x"].item() == 1


@pytest.mark.parametrize(
    "arguments", [{"parameters": 5}, {"parameters": "x"}, {"time_limit_s": 0}, {"time_limit_s": "1"}]
)
def test_arguments_without_sense_are_refused(trace: TraceReader, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        trace.sql("SELECT 1", **arguments)


def test_cold_occurrences_count_if_they_are_kept(tmp_path: Path) -> None:
    trace, at = TraceBuilder(), 0
    main = trace.process().thread()
    for wall in (18_000_000, 1_000, 1_000, 1_000):
        main.push(at, at + wall, "decode").launch(at + wall - 900, gpu=(at + wall - 895, at + wall - 5))
        at += wall
    path = trace.write(tmp_path / "t.sqlite")

    for keep_cold, counted in ((False, 3), (True, 4)):
        with llmperf.open(path, cache=False, keep_cold=keep_cold) as opened:
            (phase,) = opened.report().phases
            assert phase.counted_occurrences == counted
