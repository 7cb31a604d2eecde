"""What ncu measured beside the estimate of the operators that its kernels compute."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline.ncu import KernelCounters, beside_trace
from nsys_pipeline.report.ncu import ncu_document
from nsys_pipeline.report.terminal import render_document
from tests.cli.run import run
from tests.support.real_traces import SUFFIX

COUNTERS = Path(__file__).resolve().parents[2] / "counters"


def measured(name: str, flops: float, time_ns: float = 10) -> KernelCounters:
    return KernelCounters(name, 1, time_ns, flops, 0.0, 5.0, 5.0)


def in_order(kernels: Iterable[KernelCounters]) -> list[KernelCounters]:
    """Each with its number among the launches of its name and process."""
    numbers: Counter[tuple[str, str]] = Counter()
    found = []
    for kernel in kernels:
        numbers[kernel.process, kernel.name] += 1
        found.append(attrs.evolve(kernel, launch=numbers[kernel.process, kernel.name]))
    return found


def launch(
    name: str,
    index: int,
    operator: str | None,
    flops: float | None,
    reason: str | None = None,
    *,
    is_helper: bool = False,
) -> dict[str, Any]:
    total = {"qkv": 30.0, "o": 8.0}.get(operator or "")
    return {
        "name": name, "launch_index": index, "operator": operator, "source": operator and "layers",
        "is_helper": is_helper, "flops": flops,
        "bytes": flops and flops / 2, "operator_flops": total, "operator_bytes": total and total / 2, "reason": reason,
    }  # fmt: skip


LAUNCHES = [
    launch("a", 2, "o", 8.0), launch("a", 1, "qkv", None, "kernels of 2 names compute qkv"),
    launch("b", 1, "qkv", None, "kernels of 2 names compute qkv"), launch("copy", 1, None, None, "no operator"),
]  # fmt: skip


def beside(*kernels: KernelCounters, launches: list[dict[str, Any]] = LAUNCHES) -> dict[str, Any]:
    return beside_trace(in_order(kernels), {}, launches, flops=None, minimum_bytes=None, busy_ns=None)


def test_each_launch_counts_for_its_operator_whatever_the_names() -> None:
    answer = beside(measured("a", 21), measured("b", 12), measured("a", 9), measured("copy", 1))

    assert [(row["operator"], row["kernels"], row["flops"], row["estimated_flops"]) for row in answer["operators"]] == [
        ("qkv", ["a", "b"], 33, 30), ("o", ["a"], 9, 8),
    ]  # fmt: skip
    assert {
        row["name"]: (row["operators"], row["estimated_flops"], row["no_estimate"]) for row in answer["kernels"]
    } == {
        "a": (["qkv", "o"], None, "kernels of 2 names compute qkv"),
        "b": (["qkv"], None, "kernels of 2 names compute qkv"),
        "copy": ([], None, "no operator"),
    }


def test_a_helper_counts_with_the_kernels_that_it_helps() -> None:
    # given two kernels of one name, as CUTLASS calls all of its, of which one adds up what the other left in pieces
    rows = [launch("c", 1, "o", 8.0), launch("c", 2, "o", None, "it only adds up", is_helper=True)]

    answer = beside(measured("c", 7), measured("c", 2), launches=rows)

    (kernel,) = answer["kernels"]
    assert (kernel["flops"], kernel["estimated_flops"], kernel["no_estimate"]) == (9, 8, None)
    assert [(row["flops"], row["estimated_flops"], row["count"]) for row in answer["operators"]] == [(9, 8, 2)]


def test_operators_that_were_profiled_in_part_are_left_out() -> None:
    assert beside(measured("a", 21))["operators"] == []
    assert [row["operator"] for row in beside(measured("a", 21), measured("a", 9))["operators"]] == ["o"]
    # More launches than the trace has: nobody knows which are which.
    (row,) = (answer := beside(*[measured("a", 1)] * 3))["kernels"]
    assert answer["operators"] == []
    assert row["no_estimate"] == "ncu profiled 3 launches, and the occurrence has 2"
    (row,) = beside(measured("new", 1))["kernels"]
    assert row["no_estimate"] == "the trace has no such kernel"


def test_a_launch_that_could_not_be_read_moves_no_other_one() -> None:
    # given three launches, of which the first one is damaged, and the second one computes another operator
    rows = [
        launch("a", 1, "qkv", 30.0),
        launch("a", 2, "o", 8.0),
        launch("a", 3, "o", None, "it only adds up", is_helper=True),
    ]
    kept = [attrs.evolve(measured("a", flops), launch=number) for number, flops in ((2, 9.0), (3, 1.0))]

    answer = beside_trace(kept, {}, rows, flops=None, minimum_bytes=None, busy_ns=None)

    assert [(row["operator"], row["flops"]) for row in answer["operators"]] == [("o", 10)]
    (kernel,) = answer["kernels"]
    assert (kernel["count"], kernel["estimated_flops"]) == (2, 8)


def test_each_process_has_launches_of_its_own() -> None:
    # given two ranks, each with the first launch of a
    both = [attrs.evolve(measured("a", flops), process=process) for process, flops in (("10", 31.0), ("11", 33.0))]

    answer = beside_trace(
        in_order(both), {}, [launch("a", 1, "qkv", 30.0)], flops=None, minimum_bytes=None, busy_ns=None
    )

    (kernel,) = answer["kernels"]
    assert (kernel["count"], kernel["flops"], kernel["estimated_flops"]) == (2, 64, 60)
    assert (answer["operators"], answer["is_whole_occurrence"]) == ([], False)


def test_kernels_of_other_phases_are_joined_and_told() -> None:
    traced = {"a": {"mean_ns": 5.0, "in_occurrence": 1, "communicates": False}}
    elsewhere = {name: {"mean_ns": 7.0, "phases": phases} for name, phases in (("b", ["prefill"]), ("c", []))}

    answer = beside_trace(
        [measured(name, 1) for name in "abcd"], traced, [], flops=1, minimum_bytes=1, busy_ns=1, elsewhere=elsewhere
    )

    told = {row["name"]: (row["traced_mean_ns"], row["in_occurrence"], row["no_estimate"]) for row in answer["kernels"]}
    assert told == {
        "a": (5.0, 1, "the occurrence has no such kernel, or is warm-up or cold"),
        "b": (7.0, 0, "the phase has no such kernel, but prefill has"),
        "c": (7.0, 0, "no phase has such a kernel"),
        "d": (None, None, "the trace has no such kernel"),
    }  # fmt: skip
    assert answer["is_whole_occurrence"] is False


def test_an_occurrence_is_whole_without_what_communicates() -> None:
    traced = {
        "a": {"mean_ns": 5.0, "in_occurrence": 2, "communicates": False},
        "ncclDevKernel": {"mean_ns": 9.0, "in_occurrence": 1, "communicates": True},
        "cold": {"mean_ns": 1.0, "in_occurrence": 0, "communicates": False},
    }  # fmt: skip

    def is_whole(*names: str) -> bool:
        kernels = in_order(measured(name, 1) for name in names)
        answer = beside_trace(kernels, traced, [], flops=1, minimum_bytes=1, busy_ns=1)
        return bool(answer["is_whole_occurrence"])

    assert (is_whole("a", "a"), is_whole("a", "a", "ncclDevKernel")) == (True, True)
    assert (is_whole("a"), is_whole("a", "a", "a"), is_whole("a", "a", "cold"), is_whole()) == (False,) * 4


@pytest.mark.parametrize(
    ("processes", "nested", "is_damaged", "reason"),
    [
        (("",) * 2, 0, False, None),
        (("",), 0, False, "not every kernel of the occurrence was profiled"),
        (("",), 0, True, "the file is damaged"),
        (("",) * 4, 0, False, "4 launches were profiled, and the occurrence has 2"),
        (("1", "1", "2", "2"), 0, False, "kernels of 2 processes were profiled"),
        (("",) * 2, 1, False, "ranges of other phases are inside the occurrence"),
    ],
)
def test_why_sums_are_not_compared(processes: tuple[str, ...], nested: int, is_damaged: bool, reason: str) -> None:
    traced = {"a": {"mean_ns": 5.0, "in_occurrence": 2, "communicates": False, "nested_count": nested}}
    kernels = in_order(attrs.evolve(measured("a", 1), process=process) for process in processes)

    answer = beside_trace(kernels, traced, LAUNCHES, flops=1, minimum_bytes=1, busy_ns=1, is_damaged=is_damaged)

    said = answer["not_whole_reason"]
    assert said is None if reason is None else said.startswith(reason)
    assert (answer["kernels"][0]["no_estimate"] or "").startswith("ranges of other phases") is bool(nested)


def test_a_real_prefill_agrees_with_its_estimate_operator_by_operator(capsys: pytest.CaptureFixture[str]) -> None:
    # given a prefill of 8x2048 tokens through four layers on an H200, and what ncu measured of its 182 kernels
    trace, profile = COUNTERS / f"h200_dense_prefill{SUFFIX}", COUNTERS / "ncu_dense_prefill.csv"
    command = ("ncu", trace, "--phase", "prefill", "--top", "0", "--read", profile)

    answer = json.loads(run(capsys, *command, "--format", "json")[1])
    text = io.StringIO()
    render_document(ncu_document(answer), text)

    # Each product by hand: 2 x tokens x rows x columns x layers; causal attention: half a square and its diagonal.
    tokens, layers = 8 * 2048, 4
    by_hand = {
        "gate_up": 2 * tokens * 2048 * 16384 * layers, "down": 2 * tokens * 8192 * 2048 * layers,
        "qkv": 2 * tokens * 2048 * 3072 * layers, "o": 2 * tokens * 2048 * 2048 * layers,
        "lm_head": 2 * 8 * 2048 * 32000,
        "attention": 4 * 8 * (2048 * 2049 // 2) * 32 * 64 * layers,
    }  # fmt: skip
    operators = {row["operator"]: row for row in answer["operators"]}
    assert {name: row["estimated_flops"] for name, row in operators.items()} == by_hand
    ratios = {name: row["flops"] / row["estimated_flops"] for name, row in operators.items()}
    assert ratios == pytest.approx(
        # Whole tiles in what 192 does not divide, and on the diagonal of attention; lm_head in tiles of 8 rows for one.
        {"gate_up": 1.039, "down": 1.0, "qkv": 1.0, "o": 1.0, "attention": 1.077, "lm_head": 8.064}, abs=0.001
    )  # fmt: skip
    assert {name: row["count"] for name, row in operators.items()} == {
        "gate_up": 8, "down": 4, "qkv": 12, "o": 4, "attention": 4, "lm_head": 1
    }  # fmt: skip
    (shared,) = [row for row in answer["kernels"] if row["operators"] == ["qkv", "o", "down"]]
    assert shared["flops"] / shared["estimated_flops"] == pytest.approx(1, abs=1e-3)
    assert "1.039" in text.getvalue()
    assert "% of the time: the estimate counts products and attention alone" in text.getvalue()


@pytest.mark.parametrize("page", ["raw", "details"])
def test_one_rank_of_two_that_wait_for_each_other(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    # given two ranks on two H200, an all-reduce after each pair of products, and the profile that the printed command
    # made of the rank on GPU 1, in units as ncu scales them
    trace, profile = COUNTERS / f"h200x2_two_ranks{SUFFIX}", COUNTERS / f"ncu_two_ranks_{page}.csv"

    code, out, err = run(
        capsys, "ncu", trace, "--phase", "prefill", "--top", "1", "--read", profile, "--format", "json"
    )

    answer = json.loads(out)
    assert (code, err, answer["is_whole_occurrence"]) == (0, "", True)
    kernels = {kernel["name"]: kernel for kernel in answer["kernels"]}
    assert {name: (kernel["count"], kernel["in_occurrence"]) for name, kernel in kernels.items()} == {
        "nvjet_sm90_tst_256x128_64x4_1x2_h_bz_coopA_NNT": (8, 8), "vectorized_elementwise_kernel": (8, 8),
        "vectorized_layer_norm_kernel": (4, 4),
    }  # fmt: skip
    # Four layers of two products of 2048 x 2048 x 4096.
    product = kernels["nvjet_sm90_tst_256x128_64x4_1x2_h_bz_coopA_NNT"]
    assert product["flops"] == 4 * 2 * 2 * 2048 * 2048 * 4096
    # Cold caches and replay cost little of long kernels: ncu's durations are those of the trace.
    assert product["time_ns"] / product["count"] == pytest.approx(product["traced_mean_ns"], rel=0.05)
    assert product["dram_bytes"] == pytest.approx(267.67e6, rel=0.001)
