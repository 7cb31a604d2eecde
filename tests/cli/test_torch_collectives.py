"""Collectives whose ranks torch.profiler names: shards and their replicas, as four files of one job."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nsys_pipeline.trace.kineto_collectives import collective
from tests.cli.public_reports.common import ALL_REDUCE, codes
from tests.cli.public_reports.test_training_frameworks import GATHER, SCATTER
from tests.cli.run import MS, Cli, run
from tests.support.kineto import PID, KinetoTrace, gpu

#: Process groups of two by two ranks, as a device mesh numbers them.
SHARDS, REPLICAS = {"1": [0, 1], "2": [2, 3]}, {"3": [0, 2], "4": [1, 3]}
ELEMENTS = 1 << 20


def said(rank: int, groups: dict[str, list[int]], name: str, sizes: tuple[int, int]) -> dict[str, Any]:
    (group, ranks), *_ = [one for one in groups.items() if rank in one[1]]
    return {
        "Collective name": name, "In msg nelems": sizes[0], "Out msg nelems": sizes[1], "Group size": 2,
        "dtype": "BFloat16", "Process Group Name": group, "Process Group Ranks": str(ranks),
    }  # fmt: skip


def job(cli: Cli, *, late: int, is_named: bool) -> None:
    """Four steps of ranks of which the last is late for each gather: rank 2 waits for it, and ranks 0 and 1 do not."""
    half, whole = ELEMENTS // 2, ELEMENTS
    for rank in range(4):
        trace = KinetoTrace(
            deviceProperties=[gpu(number) for number in range(4)],
            distributedInfo={"backend": "nccl", "rank": rank, "world_size": 4},
        )
        own, waited, at = late if rank == 3 else 0, late if rank > 1 else 0, MS
        for _ in range(4):
            trace.annotation("forward", at, at + 100 * MS)
            trace.annotation("backward", at + 100 * MS, at + 200 * MS)
            trace.annotation("optimizer", at + 200 * MS, at + 210 * MS)
            for layer in range(4):
                begin = at + (20 * layer + 1) * MS
                gathered = begin + waited + 2 * MS
                args = said(rank, SHARDS, "_allgather_base", (half, whole)) if is_named else {}
                trace.launch(begin, gpu=(begin + own, gathered), name=GATHER, device=rank, stream=20, **args)
                trace.launch(begin + 10_000, gpu=(gathered, gathered + 9 * MS), name="nvjet_tst", device=rank)
                begin = at + (100 + 24 * layer) * MS
                trace.launch(begin + 10_000, gpu=(begin + MS, begin + 9 * MS), name="nvjet_tsn", device=rank)
                args = said(rank, SHARDS, "_reduce_scatter_base", (whole, half)) if is_named else {}
                scattered = (begin + 10 * MS, begin + 12 * MS)
                trace.launch(begin + 20_000, gpu=scattered, name=SCATTER, device=rank, stream=21, **args)
                args = said(rank, REPLICAS, "allreduce", (half, half)) if is_named else {}
                reduced = (begin + 12 * MS, begin + 14 * MS)
                trace.launch(begin + 30_000, gpu=reduced, name=ALL_REDUCE, device=rank, stream=22, **args)
            trace.launch(at + 200 * MS + 10_000, gpu=(at + 201 * MS, at + 209 * MS), name="adam", device=rank)
            at += 210 * MS
        for event in trace.events:
            event["pid"] = PID + rank if event["pid"] == PID else event["pid"]
        trace.write(cli.folder / f"rank{rank}.trace.json")


def asked(cli: Cli, query: str) -> list[tuple[object, ...]]:
    status, out, err = run(cli.capsys, "sql", cli.folder, query, "--format", "json", "--no-cache")
    assert status == 0, err
    return [tuple(json.loads(line).values()) for line in out.splitlines()]


@pytest.mark.parametrize("is_named", [True, False])
def test_shards_and_replicas_are_communicators_of_their_own(is_named: bool, cli: Cli) -> None:
    job(cli, late=MS, is_named=is_named)
    rows = asked(
        cli,
        "SELECT kind, device_id, any_value(rank_count), sum(wait_ns)::BIGINT, any_value(message_bytes), "
        "any_value(bus_bytes)::BIGINT FROM collectives GROUP BY kind, device_id ORDER BY kind, device_id",
    )
    status, out, err = run(cli.capsys, "analyze", cli.folder, "--format", "json", "--no-cache")
    assert status == 0, err

    if not is_named:
        # Told, for nothing says that ranks 0 and 1 do not wait.
        assert "communicators_unclear" in codes(json.loads(out))
        return
    assert "communicators_unclear" not in codes(json.loads(out))
    assert rows == [
        (kind, rank, 2, 16 * MS if (kind, rank) == ("all_gather", 2) else 0, ELEMENTS, ELEMENTS)
        for kind in ("all_gather", "all_reduce", "reduce_scatter")
        for rank in range(4)
    ]
    groups = asked(
        cli,
        "SELECT DISTINCT kind, list(DISTINCT device_id ORDER BY device_id) AS gpus FROM collectives "
        "GROUP BY kind, communicator_id ORDER BY kind, gpus",
    )
    shards, replicas = ([list(ranks) for ranks in one.values()] for one in (SHARDS, REPLICAS))
    assert [(kind, gpus) for kind, gpus in groups] == [
        *(("all_gather", ranks) for ranks in shards),
        *(("all_reduce", ranks) for ranks in replicas),
        *(("reduce_scatter", ranks) for ranks in shards),
    ]


@pytest.mark.parametrize(
    ("kernel", "changed", "expected"),
    [
        (ALL_REDUCE, {}, ("5 [0, 1]", 2 * 8, 2)),
        (ALL_REDUCE, {"Process Group Ranks": [0, 1]}, ("5 [0, 1]", 2 * 8, 2)),
        (ALL_REDUCE, {"dtype": "Float"}, ("5 [0, 1]", 4 * 8, 2)),
        (ALL_REDUCE, {"dtype": "Quantized"}, ("5 [0, 1]", None, 2)),
        (ALL_REDUCE, {"Group size": "two"}, ("5 [0, 1]", 2 * 8, None)),
        (ALL_REDUCE, {"Process Group Ranks": ""}, None),
        (ALL_REDUCE, {"Process Group Name": None}, None),
        (ALL_REDUCE, {"Collective name": "allreduce_coalesced"}, None),
        (GATHER, {"Collective name": "_allgather_base"}, ("5 [0, 1]", 2 * 8, 2)),
        (GATHER, {"Collective name": "all_gather_single"}, ("5 [0, 1]", 2 * 8, 2)),
        (SCATTER, {"Collective name": "_reduce_scatter_base"}, ("5 [0, 1]", 2 * 4, 2)),
        # Uneven shards are broadcast one after the other.
        ("ncclDevKernel_Broadcast_RING_LL", {"Collective name": "_allgather_base"}, ("5 [0, 1]", None, 2)),
        ("ncclDevKernel_Reduce_Sum_bf16_RING_LL", {"Collective name": "reduce_scatter"}, ("5 [0, 1]", None, 2)),
        ("ncclDevKernel_SendRecv", {"Collective name": "all_to_all"}, ("5 [0, 1]", None, 2)),
        ("ncclDevKernel_SendRecv", {"Collective name": "send"}, None),
    ],
)
def test_what_an_operator_says_is_of_its_kernel(kernel: str, changed: dict[str, Any], expected: object) -> None:
    args = {
        "Collective name": "allreduce", "In msg nelems": 8, "Out msg nelems": 4, "Group size": 2, "dtype": "BFloat16",
        "Process Group Name": "5", "Process Group Ranks": "[0, 1]",
    }  # fmt: skip
    assert collective(kernel, args | changed) == expected
