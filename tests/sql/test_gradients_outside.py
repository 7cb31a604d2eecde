"""A backward of which a part lies in ranges that no rule knows: rows in, rows out."""

from __future__ import annotations

import duckdb
import pytest

from nsys_pipeline.sqlmods import all_modules

NAMES = {1: "gemm", 2: "flash_fwd_kernel", 3: "flash_bwd_kernel", 4: "splitKreduce_kernel"}
FAMILIES = {1: "gemm", 2: "attention", 3: "attention", 4: "gemm"}
Kernels = dict[tuple[str | None, int], int]
FORWARD: Kernels = {("forward", 1): 290, ("forward", 2): 40}
RANGES = {1: "weight_grad", 2: "", 3: "evaluate"}


def told(kernels: Kernels, outside: dict[int | None, int] | None = None) -> list[tuple[object, ...]]:
    """What is told of ten passes, of `kernels` by phase and name, and of products outside every phase by range."""
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE SCHEMA load; CREATE SCHEMA attribute; CREATE SCHEMA estimate;
            CREATE TABLE load.strings(string_id BIGINT, value VARCHAR);
            CREATE TABLE load.nvtx_ranges(range_id BIGINT, name VARCHAR);
            CREATE TABLE attribute.kernel_families(name_id BIGINT, full_name_id BIGINT, family VARCHAR);
            CREATE TABLE attribute.kernel_totals(phase VARCHAR, name_id BIGINT, full_name_id BIGINT, "count" BIGINT);
            CREATE TABLE attribute.gpu_work(occurrence_id BIGINT, range_id BIGINT, name_id BIGINT, full_name_id BIGINT);
            CREATE TABLE attribute.occurrences(occurrence_id BIGINT, phase VARCHAR);
            CREATE TABLE attribute.training_passes AS
                SELECT unnest(['forward', 'backward']) AS part FROM range(10);
            CREATE TABLE estimate.phase_costs AS SELECT 'backward' AS phase, 5 AS gpu_busy_ns, 7 AS flops
        """)
        for number, name in NAMES.items():
            connection.execute("INSERT INTO load.strings VALUES (?, ?)", [number, name])
            connection.execute("INSERT INTO attribute.kernel_families VALUES (?, NULL, ?)", [number, FAMILIES[number]])
        for (phase, number), count in {**FORWARD, **kernels}.items():
            connection.execute("INSERT INTO attribute.kernel_totals VALUES (?, ?, NULL, ?)", [phase, number, count])
        for number, name in RANGES.items():
            connection.execute("INSERT INTO load.nvtx_ranges VALUES (?, ?)", [number, name])
        for where, count in (outside or {}).items():
            connection.execute("INSERT INTO attribute.gpu_work SELECT NULL, ?, 1, NULL FROM range(?)", [where, count])
        query = all_modules()["findings.gradients_outside"].sql
        return connection.execute(
            f"SELECT products, forward_products, outside_products, place FROM ({query})"
        ).fetchall()


WHOLE: Kernels = {("backward", 1): 580, ("backward", 3): 40}
HALF: Kernels = {("backward", 1): 290, ("backward", 3): 40, (None, 1): 290}


@pytest.mark.parametrize("kernels", [WHOLE, WHOLE | {(None, 1): 2_900}, {("backward", 1): 290}], ids=str)
def test_a_whole_backward_or_one_of_frozen_weights_is_not_told(kernels: Kernels) -> None:
    assert told(kernels) == []


def test_half_a_backward_is_told_with_the_range_that_holds_the_rest() -> None:
    assert told(HALF, {1: 200, 2: 500, 3: 90}) == [(29, 29, 29, "`weight_grad`")]
    assert told(HALF, {None: 290}) == [(29, 29, 29, "outside every range")]
    assert told({("backward", 1): 290, ("step", 1): 280, ("step", 4): 999}) == [(29, 29, 28, "outside every range")]


def test_what_checkpointing_runs_again_is_not_the_gradient_of_weights() -> None:
    again: Kernels = {("backward", 1): 580, ("backward", 2): 40, ("backward", 3): 40}

    assert told(again | {(None, 1): 290}) == [(58, 29, 29, "outside every range")]
    assert told(again | {("backward", 1): 870, (None, 1): 290}) == []
