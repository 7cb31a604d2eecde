"""Every recipe, on the real traces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nsys_pipeline.errors import QueryError
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import load_model
from nsys_pipeline.query.recipes import Recipe, all_recipes, find_recipe, parse_recipe
from nsys_pipeline.query.session import Session
from nsys_pipeline.sqlmods import ModuleError
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, open_session, table
from tests.support.real_traces import NAMES, SUFFIX, TRACES
from tests.support.recipe_golden import GOLDEN, answer
from tests.support.recipe_golden import TRACES as GOLDEN_TRACES
from tests.support.trace_builder import TraceBuilder

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
LLAMA = AnalysisOptions(
    model=load_model("llama-3.2-1b"),
    shapes=tuple(RequestShape.parse(text) for text in ("1x128+4", "1x2048+32", "8x512+32", "1x128+64")),
)


def test_there_are_thirty_and_each_asks_a_question_of_its_own() -> None:
    recipes = all_recipes().values()
    assert len(recipes) >= 30
    assert len({recipe.question for recipe in recipes}) == len(recipes)
    for recipe in recipes:
        assert all(column.doc.endswith((".", "…")) for column in recipe.columns), recipe.name
        assert all(f"${parameter.name}" in recipe.sql for parameter in recipe.parameters), recipe.name
        for column in recipe.columns:
            assert not column.name.endswith("_ns") or column.doc.endswith("Unit: ns."), (recipe.name, column.name)


@pytest.fixture(scope="module", params=NAMES)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    options = LLAMA if request.param == "h100_llama1b" else None
    trace = open_trace(TRACES / f"{request.param}{SUFFIX}")
    with Session.of(trace, options) as opened:
        yield opened


def run(session: Session, recipe: Recipe, **parameters: Any) -> list[dict[str, Any]]:
    with session.query(recipe.sql, recipe.arguments(parameters)) as result:
        return list(result.records())


def test_recipes_on_real_traces(session: Session) -> None:
    """Columns are as documented, answers are the golden ones (`just golden-recipes`), parts add up to the whole."""
    name = session.provider.trace.path.name.removesuffix(SUFFIX)
    text = "\n".join(answer(session, recipe) for recipe in all_recipes().values())
    if name in GOLDEN_TRACES:
        assert text.splitlines() == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    if name == "h100_llama1b":
        check_estimate(session)
    (whole,) = run_sql(
        session,
        "SELECT (SELECT count(*) FROM gpu_work) AS ops, (SELECT sum(dur_ns) FROM gpu_busy) AS busy_ns, "
        "(SELECT coalesce(sum(idle_ns), 0) FROM gpu_busy) AS idle_ns, (SELECT count(*) FROM kernels) AS kernels, "
        "(SELECT count(*) FROM gpu_work WHERE phase IS NULL) AS outside",
    )
    add_up = {
        "streams": ("op_count", "ops"),
        "launching_threads": ("op_count", "ops"),
        "busy_over_time": ("busy_ns", "busy_ns"),
        "idle_by_phase": ("idle_ns", "idle_ns"),
        "short_kernels": ("count", "kernels"),
        "kernel_families": ("count", "kernels"),
        "device_balance": ("kernel_count", "kernels"),
        "unattributed_work": ("count", "outside"),
    }
    for recipe, columns in add_up.items():
        rows = run(session, find_recipe(recipe))
        assert sum(row[columns[0]] for row in rows) == whole[columns[1]], recipe


def run_sql(session: Session, query: str) -> list[dict[str, Any]]:
    with session.query(query) as result:
        return list(result.records())


def test_recipes_that_no_golden_trace_answers() -> None:
    """A recipe must be seen to answer something: in a golden file, below, or (batch_over_time) in test_serving.py."""
    text = "\n".join((GOLDEN / f"{trace}.txt").read_text(encoding="utf-8") for trace in GOLDEN_TRACES)
    silent = {name for name in all_recipes() if text.count(f"\n{name}: 0 rows") + text.startswith(f"{name}: 0") == 3}
    assert silent == {"batch_over_time", "gemm_shapes", "local_memory", "roofline"}


def check_estimate(session: Session) -> None:
    """GEMM shapes, roofline and context agree with the summary."""
    flops = {row["phase"]: row["flops"] for row in run_sql(session, "SELECT phase, flops FROM phase_summary")}
    roofline = run(session, find_recipe("roofline"))
    assert {phase: sum(row["flops"] for row in roofline if row["phase"] == phase) for phase in flops} == flops
    products = {(row["name"], row["n"], row["k"]) for row in run(session, find_recipe("gemm_shapes"))}
    assert ("lm_head", 128256, 2048) in products
    tpot = run(session, find_recipe("tpot_and_context"), width=1000)
    assert [(row["batch"], row["context_start"], row["steps"]) for row in tpot] == [
        (1, 0, 64),  # cold steps are left out: four of the first request, and the first of batch 8
        (1, 2000, 32),
        (8, 0, 31),
    ]


def test_local_memory(tmp_path: Any) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.launch(0, gpu=(5, 9), name="spills", localMemoryPerThread=8, registersPerThread=255).launch(10, gpu=(15, 19))
    recipe = find_recipe("local_memory")
    assert ask(trace, recipe.sql, tmp_path, recipe.arguments({})) == table("""
        name,   local_bytes_per_thread, registers_per_thread, count, time_ns
        spills, 8,                      255,                  1,     4
    """)


def test_longest_idle_gaps_name_the_call(tmp_path: Any) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(0, 100, "decode")
    main.launch(5, gpu=(10, 20)).launch(80, gpu=(90, 95)).launch(92, gpu=(96, 99))
    main.call(25, until=65, api="cudaMalloc_v3020")
    recipe = find_recipe("longest_idle_gaps")
    assert ask(trace, recipe.sql, tmp_path, recipe.arguments({"top": 1})) == table("""
        device_id, start_ns, idle_ns, phase,  call_ns, longest_call, longest_ns
        0,         20,       70,      decode, 42,      cudaMalloc,   40
    """)


def test_range_gpu_times_climb(tmp_path: Any) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 90, "decode").push(10, 50, "layer.0").push(20, 30, "layer.0.attn")
    main.launch(5, gpu=(100, 101)).launch(15, gpu=(101, 103)).launch(25, gpu=(103, 107)).launch(40, gpu=(107, 115))
    recipe = find_recipe("range_gpu_times")
    assert ask(trace, recipe.sql, tmp_path, recipe.arguments({})) == table("""
        domain, name,         range_count, host_time_ns, own_gpu_ns, gpu_time_ns
        ,       decode,       1,           90,           1,          15
        ,       layer.0,      1,           40,           10,         14
        ,       layer.0.attn, 1,           10,           4,          4
    """)


def test_counters_are_those_of_the_gpu_that_a_phase_runs_on(tmp_path: Any) -> None:
    """Two GPUs, two phases at the same time; work outside every phase before, between and after takes no sample."""
    trace = TraceBuilder()
    first, second = trace.process(1).thread(), trace.process(2).thread()
    for device, (thread, phase) in enumerate([(first, "prefill"), (second, "decode")]):
        thread.launch(1, gpu=(2, 3), device=device).launch(150, gpu=(160, 170), device=device)
        thread.push(10, 90, phase).launch(12, gpu=(20, 30), device=device).launch(14, gpu=(70, 80), device=device)
        metric = {"typeId": 256 + device, "metricId": 1}
        trace.row("TARGET_INFO_GPU_METRICS", **metric, sourceId=0, metricName="GPC Clock Frequency [MHz]")
        for at, value in ((5, 9), (50, 1 + device), (120, 9)):
            trace.row("GPU_METRICS", timestamp=at, **metric, value=value * 10**9)
    recipe = find_recipe("gpu_counters")
    assert ask(trace, recipe.sql, tmp_path, recipe.arguments({})) == table("""
        phase,   metric,              unit, samples, mean,         max
        decode,  GPC Clock Frequency, Hz,   1,       2000000000.0, 2000000000
        prefill, GPC Clock Frequency, Hz,   1,       1000000000.0, 1000000000
    """)


@pytest.mark.parametrize(("keep_cold", "steps"), [(False, 20), (True, 21)])
def test_what_is_left_out_of_communication(tmp_path: Any, keep_cold: bool, steps: int) -> None:
    """As in collective_summary: a step of warm-up, and a cold one unless it is kept."""
    trace = TraceBuilder()
    for rank in range(2):
        main = trace.gpu(rank).process(100 + rank).thread().push(0, 900, "warmup")
        at = 0
        for took in (900, 90_000, *[1_000] * 20):
            main.push(at + 1, at + took - 1, "decode")
            main.launch(at + 2, gpu=(at + 10, at + 500), name="gemm", device=rank)
            main.launch(at + 3, gpu=(at + 250 + rank, at + 800), name=ALL_REDUCE, device=rank, stream=20)
            at += took
        trace.row(
            "TARGET_INFO_GPU_METRICS", typeId=256 + rank, metricId=1, sourceId=0, metricName="GPC Clock Frequency [MHz]"
        )
        for start in (400, 1_300, *range(91_300, 111_300, 1_000)):
            trace.row("GPU_METRICS", timestamp=start, typeId=256 + rank, metricId=1, value=10**9)

    with open_session(trace, tmp_path, AnalysisOptions(keep_cold=keep_cold)) as opened:
        (summary,) = run_sql(opened, "FROM collective_summary")
        overlap = run(opened, find_recipe("communication_overlap"))
        skew = run(opened, find_recipe("collective_skew"), top=99)
        (counters,) = run(opened, find_recipe("gpu_counters"))
        balance = run(opened, find_recipe("device_balance"))

    assert summary["kernel_count"] == 2 * steps
    for recipe, view in (("communication_ns", "time_ns"), ("hidden_ns", "overlapped_ns"), ("exposed_ns", "exposed_ns")):
        assert sum(row[recipe] for row in overlap) == summary[view]
    assert (len(skew), counters["samples"]) == (steps, 2 * steps)
    assert [row["kernel_count"] for row in balance] == [44, 44]


def test_a_backward_of_a_cold_training_step_is_left_out_with_it(tmp_path: Any) -> None:
    """The first forward takes 90 ms. Its backward is as fast as any, but of the same step. Rank 1 is 2 ms late."""
    ms, steps = 1_000_000, 20
    trace = TraceBuilder()
    for rank in range(2):
        main = trace.gpu(rank).process(100 + rank).thread()
        at = ms
        for took in (90 * ms, *[ms] * (steps - 1)):
            main.push(at, at + took, "forward").launch(at + 2, gpu=(at + 10, at + ms // 2), name="gemm", device=rank)
            at += took
            main.push(at, at + 8 * ms, "backward")
            start = at + 10 + 2 * ms * rank
            main.launch(at + 3, gpu=(start, at + 4 * ms), name=ALL_REDUCE, device=rank, stream=20)
            at += 8 * ms

    with open_session(trace, tmp_path) as opened:
        (summary,) = run_sql(opened, "FROM collective_summary")
        overlap = run(opened, find_recipe("communication_overlap"))
        skew = run(opened, find_recipe("collective_skew"), top=99)
        (late,) = run_sql(opened, "FROM findings WHERE code = 'late_rank'")
        measured = run_sql(
            opened, "SELECT phase, count(*) AS n FROM phases WHERE is_measured GROUP BY phase ORDER BY phase"
        )

    assert [(row["phase"], row["n"]) for row in measured] == [("backward", 2 * steps - 2), ("forward", 2 * steps - 2)]
    assert (summary["phase"], summary["kernel_count"], len(skew)) == ("backward", 2 * (steps - 1), steps - 1)
    assert sum(row["communication_ns"] for row in overlap) == summary["time_ns"]
    # Who is late to the first one behind the cold step is not asked, and that step is in no mean.
    assert f"each of them 2.0 ms a step, and it comes last to {steps - 2} of {steps - 2} collectives" in late["message"]


def test_counters_of_a_phase_do_not_begin_with_work_without_times(tmp_path: Any) -> None:
    trace = TraceBuilder()
    main = trace.process().thread().push(10, 90, "decode")
    main.launch(12, gpu=(20, 30)).launch(13, gpu=(0, 0)).launch(14, gpu=(70, 80))
    trace.row("TARGET_INFO_GPU_METRICS", typeId=256, metricId=1, sourceId=0, metricName="GPC Clock Frequency [MHz]")
    for at, value in ((5, 9), (50, 1)):
        trace.row("GPU_METRICS", timestamp=at, typeId=256, metricId=1, value=value * 10**9)
    recipe = find_recipe("gpu_counters")
    assert ask(trace, recipe.sql, tmp_path, recipe.arguments({})) == table("""
        phase,  metric,              unit, samples, mean,         max
        decode, GPC Clock Frequency, Hz,   1,       1000000000.0, 1000000000
    """)


def test_request_latency_is_what_the_report_says(tmp_path: Any) -> None:
    """A prefill in two chunks, whose GPU work ends later, and a decode step whose end was not recorded."""
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 1000, "request").push(100, 200, "prefill").push(300, 400, "prefill").launch(310, gpu=(380, 450))
    main.push(500, 600, "decode").launch(510, gpu=(520, 590)).push(700, 800, "decode").launch(710, gpu=(720, 850))
    opened_trace = open_trace(trace.write(tmp_path / "t.sqlite"), TraceOptions(use_cache=False))

    with Session.of(opened_trace) as opened:
        (row,) = run(opened, find_recipe("request_latency"))
        (summary,) = run_sql(opened, "FROM request_summary")

    assert (row["decode_steps"], row["ttft_ns"], row["tpot_ns"]) == (2, 450, (850 - 450) / 2)
    assert (summary["requests"], summary["ttft_p50_ns"], summary["tpot_p50_ns"]) == (1, 450, 200)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tp": 5}, "the recipe `outliers` has no parameter `tp`"),
        ({"top": "many"}, "`top` of the recipe `outliers` is a whole number, not `many`"),
        ({"top": 1.5}, "`top` of the recipe `outliers` is a whole number, not `1.5`"),
        ({"factor": "x"}, "`factor` of the recipe `outliers` is a number, not `x`"),
    ],
)
def test_wrong_arguments(given: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        find_recipe("outliers").arguments(given)


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(QueryError) as raised:
        find_recipe("outlier")
    assert raised.value.hint == "did you mean `outliers`?"


@pytest.mark.parametrize(
    "text", ["SELECT 1", "-- Not a question.\nSELECT 1", "-- Why?", "-- Why?\n-- params:\n--   x\nSELECT 1"]
)
def test_malformed_recipes_are_refused(text: str) -> None:
    with pytest.raises(ModuleError):
        parse_recipe("x", text)
