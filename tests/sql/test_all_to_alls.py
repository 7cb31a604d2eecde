"""Ranks that wait for each other in all-to-alls: told where they take turns, and once."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder

US = 1_000
RANKS, STEPS, LAYERS, SHORT, LONG, MOVE = 3, 12, 2, 100 * US, 180 * US, 20 * US
FINDINGS = ("uneven_all_to_alls", "uneven_experts", "late_rank")


def decode(hot: str, experts: str) -> TraceBuilder:
    """Steps of ranks with an all-to-all after their experts, which take longer on the hot one."""
    trace = TraceBuilder()
    mains = [trace.gpu(rank).process(100 + rank).thread() for rank in range(RANKS)]
    at = US
    for step in range(STEPS):
        start = at
        for layer in range(LAYERS):
            is_hot = [{"turns": step % RANKS == rank, "one": rank == 1, "none": False}[hot] for rank in range(RANKS)]
            ready = [at + (LONG if each else SHORT) for each in is_hot]
            for rank, main in enumerate(mains):
                launch = start + 2 * layer + 1
                main.launch(launch, gpu=(at, ready[rank]), name=experts, device=rank)
                # what the hot rank gets takes twice as long
                end = max(ready) + (2 * MOVE if is_hot[rank] else MOVE)
                main.launch(launch + 1, gpu=(ready[rank], end), name="nvshmem_alltoall_kernel", device=rank, stream=20)
            at = max(ready) + 2 * MOVE
        for main in mains:
            main.push(start, at, "decode")
    return trace


@pytest.mark.parametrize(
    ("hot", "experts", "expected"),
    [
        ("turns", "moe_kernel", {"uneven_all_to_alls"}),
        ("turns", "fused_moe_kernel", {"uneven_experts"}),  # the products say it themselves
        ("one", "moe_kernel", {"late_rank"}),
        ("none", "moe_kernel", set()),
    ],
)
def test_uneven_ranks_are_told_once(hot: str, experts: str, expected: set[str], tmp_path: Path) -> None:
    trace = decode(hot, experts)

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build(*(f"findings.{code}" for code in FINDINGS))
        query = "SELECT phase, at_stake_ns, ranks, blame, longer FROM findings.uneven_all_to_alls"
        told = opened.connection.execute(query).fetchall()
        found = {code for code in FINDINGS if opened.connection.execute(f"FROM findings.{code}").fetchall()}

    assert found == expected
    if "uneven_all_to_alls" in expected:
        # two ranks wait for the hot one after each of all layers; it takes 40 of 80 µs of transfer
        waited = STEPS * LAYERS * (RANKS - 1) * (LONG - SHORT)
        assert told == [("decode", waited, RANKS, pytest.approx(1 / RANKS), pytest.approx(2 * 3 / 4 - 1))]


def test_all_to_alls_behind_compute_are_not_told_for_the_waits_of_others(tmp_path: Path) -> None:
    """Every all-to-all lies beside a product; what ranks wait in, and in turns, is an all-reduce."""
    trace = TraceBuilder()
    mains = [trace.gpu(rank).process(100 + rank).thread() for rank in range(RANKS)]
    at = US
    for step in range(STEPS):
        start = at
        for layer in range(LAYERS):
            ready = [at + (LONG if step % RANKS == rank else SHORT) for rank in range(RANKS)]
            met = at + LONG + MOVE
            for rank, main in enumerate(mains):
                launch, middle = start + 4 * layer + 1, (ready[rank], met)
                main.launch(launch, gpu=(at, met), name="moe_kernel", device=rank)
                main.launch(launch + 1, gpu=middle, name="nvshmem_alltoall_kernel", device=rank, stream=20)
                compute = met + ready[rank] - at
                main.launch(launch + 2, gpu=(met, compute), name="moe_kernel", device=rank)
                gpu = (compute, met + LONG + MOVE)
                main.launch(
                    launch + 3, gpu=gpu, name="ncclDevKernel_AllReduce_Sum_bf16_RING_LL", device=rank, stream=21
                )
            at = met + LONG + MOVE
        for main in mains:
            main.push(start, at, "decode")

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.build("findings.uneven_all_to_alls", "attribute.phase_spending", "attribute._measured_collectives")
        (waits,) = opened.connection.execute("SELECT wait_ns FROM attribute.phase_spending").fetchall()
        query = "SELECT kind, sum(wait_ns)::BIGINT FROM attribute._measured_collectives GROUP BY kind"
        collectives = dict(opened.connection.execute(query).fetchall())
        told = opened.connection.execute("FROM findings.uneven_all_to_alls").fetchall()

    each = STEPS * LAYERS * (RANKS - 1) * (LONG - SHORT)
    assert collectives == {"all_to_all": each, "all_reduce": each}
    assert waits == (each,)
    assert told == []
