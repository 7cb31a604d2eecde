"""Products of a backward against those of its forward: a part elsewhere, or frozen weights. Rows in, rows out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from nsys_pipeline.sqlmods import all_modules, macro_ddl
from tests.support.ask import report_of
from tests.support.trace_builder import TraceBuilder

Kernels = dict[tuple[str | None, int], int]

NAMES = {1: "gemm", 2: "flash_fwd_kernel", 3: "flash_bwd_kernel", 4: "splitKreduce_kernel", 5: "gemm_of_adapters"}
FAMILIES = {1: "gemm", 2: "attention", 3: "attention", 4: "gemm", 5: "gemm"}
TIMES = {1: 100, 2: 50, 3: 90, 4: 9, 5: 1}
FORWARD: Kernels = {("forward", 1): 290, ("forward", 2): 40}
RANGES = {1: "weight_grad", 2: "", 3: "evaluate"}


def told(
    kernels: Kernels, outside: dict[int | None, int] | None = None, flops: int = 2
) -> dict[str, list[tuple[Any, ...]]]:
    """What is told of ten passes by `kernels` of a phase and a name, and products outside every phase by range.

    A backward is counted with `flops` times the FLOPs of a forward.
    """
    modules = all_modules()
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE SCHEMA load; CREATE SCHEMA attribute; CREATE SCHEMA estimate; CREATE SCHEMA macros;
            CREATE TABLE load.strings(string_id BIGINT, value VARCHAR);
            CREATE TABLE load.nvtx_ranges(range_id BIGINT, name VARCHAR);
            CREATE TABLE attribute.kernel_families(name_id BIGINT, full_name_id BIGINT, family VARCHAR);
            CREATE TABLE attribute.kernel_totals(
                phase VARCHAR, name_id BIGINT, full_name_id BIGINT, "count" BIGINT, time_ns BIGINT
            );
            CREATE TABLE attribute.gpu_work(occurrence_id BIGINT, range_id BIGINT, name_id BIGINT, full_name_id BIGINT);
            CREATE TABLE attribute.occurrences(occurrence_id BIGINT, phase VARCHAR);
            CREATE TABLE attribute.fused_heads(products DOUBLE, products_ns DOUBLE);
            CREATE TABLE attribute.training_passes AS
                SELECT
                    range AS occurrence_id, unnest([range, NULL]) AS together_id,
                    unnest(['forward', 'backward']) AS part
                FROM range(10);
            CREATE TABLE estimate.phase_costs(
                phase VARCHAR, gpu_busy_ns BIGINT, flops HUGEINT, measured_occurrences BIGINT
            )
        """)
        connection.execute(
            "INSERT INTO estimate.phase_costs VALUES ('forward', 3, 700, 7), ('backward', 5, ?, 9)", [900 * flops]
        )
        for number, name in NAMES.items():
            connection.execute("INSERT INTO load.strings VALUES (?, ?)", [number, name])
            connection.execute("INSERT INTO attribute.kernel_families VALUES (?, NULL, ?)", [number, FAMILIES[number]])
        for (phase, number), count in {**FORWARD, **kernels}.items():
            connection.execute(
                "INSERT INTO attribute.kernel_totals VALUES (?, ?, NULL, ?, ?)",
                [phase, number, count, count * TIMES[number]],
            )
        for number, name in RANGES.items():
            connection.execute("INSERT INTO load.nvtx_ranges VALUES (?, ?)", [number, name])
        for where, count in (outside or {}).items():
            connection.execute("INSERT INTO attribute.gpu_work SELECT NULL, ?, 1, NULL FROM range(?)", [where, count])
        connection.execute(macro_ddl(modules["macros.is_split_k_tail"]))
        connection.execute(f"CREATE TABLE estimate.backward_products AS {modules['estimate.backward_products'].sql}")
        return {
            code: rows
            for code in ("gradients_outside", "weights_frozen")
            if (rows := list(connection.execute(modules[f"findings.{code}"].sql).fetchall()))
        }


WHOLE: Kernels = {("backward", 1): 580, ("backward", 3): 40}
HALF: Kernels = {("backward", 1): 290, ("backward", 3): 40}
AGAIN: Kernels = {("backward", 2): 40}


@pytest.mark.parametrize("outside", [0, 2_900])
@pytest.mark.parametrize("kernels", [WHOLE, WHOLE | AGAIN | {("backward", 1): 860}, {("backward", 1): 560}], ids=str)
def test_of_a_whole_backward_nothing_is_told(kernels: Kernels, outside: int) -> None:
    assert told(kernels | {(None, 1): outside}) == {}


@pytest.mark.parametrize("again", [{}, AGAIN | {("backward", 1): 580}], ids=["", "checkpointed"])
@pytest.mark.parametrize(
    ("outside", "place"),
    [({1: 200, 2: 500, 3: 90}, "`weight_grad`"), ({None: 290}, "outside every range")],
)
def test_half_a_backward_is_told_with_the_range_that_holds_the_rest(
    again: Kernels, outside: dict[int | None, int], place: str
) -> None:
    half = HALF | again

    assert told(half | {(None, 1): 290}, outside) == {"gradients_outside": [("backward", 5, 29, 29, 29, place)]}
    assert told(half | {("step", 1): 280, ("step", 4): 999}, outside) == {
        "gradients_outside": [("backward", 5, 29, 29, 28, place)]
    }


def test_a_backward_without_gradients_of_weights_is_told_if_all_are_counted() -> None:
    assert told(HALF) == {"weights_frozen": [("backward", 5, 1.0, 1.0)]}
    assert told(HALF, flops=1) == {}


def test_products_of_adapters_do_not_hide_it() -> None:
    # given adapters on every layer: two small products in the forward, four in the backward
    adapters: Kernels = {("forward", 5): 560, ("backward", 5): 1_120}

    ((phase, busy_ns, count_ratio, time_ratio),) = told(HALF | adapters)["weights_frozen"]

    assert (phase, busy_ns) == ("backward", 5)
    assert count_ratio == pytest.approx(1_410 / 850)
    assert time_ratio == pytest.approx(1.019, abs=0.001)
    assert told(WHOLE | adapters) == {}


def test_cut_cross_entropy_is_told(tmp_path: Path) -> None:
    trace = TraceBuilder()
    main = trace.process().thread()
    main.push(0, 100, "forward").launch(1, gpu=(10, 40), name="_cce_lse_forward_kernel")
    main.push(200, 300, "backward").launch(201, gpu=(210, 280), name="_cce_backward_kernel")
    # What warms up is not worth anything.
    main.push(400, 900, "warmup")
    main.push(410, 890, "backward").launch(411, gpu=(420, 880), name="_cce_backward_kernel")

    (finding,) = [one for one in report_of(trace, tmp_path).findings if one.code == "head_run_again"]

    assert (finding.phase, finding.at_stake_ns) == ("backward", 70)
    assert "HFU is without the logits" in finding.message
