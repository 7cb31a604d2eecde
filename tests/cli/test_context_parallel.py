"""Ranks that share sequences: their FLOPs if somebody tells, no number if nobody does."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tests.cli.public_reports.common import LLAMA, lm_head, marked, pairs, projections
from tests.cli.run import MS, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import TraceBuilder
from tests.unit.trace.test_messages import CALL, payload, with_payloads

REST = projections(LLAMA, 1024) + 1024 * lm_head(LLAMA)
WHOLE, HALVES = (REST + 4 * 4 * 8 * 64 * count for count in (pairs(1024), 2 * pairs(512)))
MARK = 'llmperf.step {"b":1,"q":512,"kv":0,"logits":512}'


class Asked:
    """FLOPs of each phase, None if they are not known, and what is said on stderr (`context_parallel_unknown`)."""

    def __init__(
        self, trace: TraceBuilder | KinetoTrace, folder: Path, capsys: pytest.CaptureFixture[str], *options: object
    ) -> None:
        path = folder / ("trace.json" if isinstance(trace, KinetoTrace) else "trace.sqlite")
        path.unlink(missing_ok=True)
        trace.write(path)
        query = "SELECT flops FROM phases WHERE phase NOT IN ('outside')"
        code, out, self.said = run(capsys, "sql", "--no-cache", path, query, "--format", "json", *options)
        assert code == 0
        self.flops = [json.loads(line)["flops"] for line in out.splitlines()]

    @property
    def is_left_out(self) -> bool:
        """Whether there is no number, and the reason is said."""
        assert ("context parallelism" in self.said) == (self.flops == [None] * len(self.flops))
        return "context parallelism" in self.said


def ring(**details: object) -> TraceBuilder:
    """Two ranks that run half of each sequence of 1,024 tokens, and send keys and values on in each of four layers."""
    made = TraceBuilder().gpu(0).gpu(1)
    for rank in (0, 1):
        main = made.process(100 + rank).thread().push(0, 50 * MS, "forward").mark(1, MARK, domain="llmperf")
        main.launch(MS, gpu=(2 * MS, 20 * MS), device=rank)
        for layer in range(4):
            at = (20 + 5 * layer) * MS
            main.launch(at, gpu=(at + 1, at + MS), device=rank, name="ncclDevKernel_SendRecv(ncclDevKernelArgsStorage)")
    marked(made, LLAMA, world=2, **details)
    return made


def test_ranks_of_a_ring_have_the_pairs_of_whole_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marks, typed = Asked(ring(cp=2), tmp_path, capsys), Asked(ring(), tmp_path, capsys, "--cp", 2)

    assert marks.flops == typed.flops == [WHOLE // 2] * 2
    assert not marks.is_left_out


def test_ranks_of_a_ring_that_nobody_tells_have_no_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Asked(ring(), tmp_path, capsys).is_left_out
    assert Asked(ring(), tmp_path, capsys, "--cp", 1).flops == [HALVES // 2] * 2


@pytest.mark.parametrize(
    ("sent", "is_split"),
    [
        # torch's context_parallel: each layer's backward sends the gradients of keys and values.
        (2 * 4, True),
        # A stage of a pipeline sends a gradient on, and FSDP sends none.
        (1, False),
        (0, False),
    ],
)
def test_ranks_that_gather_keys_and_values_send_their_gradients(
    sent: int, is_split: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = TraceBuilder().gpu(0).gpu(1)
    for rank in (0, 1):
        main = made.process(100 + rank).thread().push(0, 50 * MS, "forward").mark(1, MARK, domain="llmperf")
        main.launch(MS, gpu=(2 * MS, 20 * MS), device=rank)
        for layer in range(4):
            at = (20 + 5 * layer) * MS
            main.launch(at, gpu=(at + 1, at + MS), device=rank, name="ncclDevKernel_AllGather_RING_LL")
        main.push(50 * MS, 100 * MS, "backward").launch(51 * MS, gpu=(52 * MS, 80 * MS), device=rank)
        for number in range(sent):
            at = (81 + number) * MS
            main.launch(at, gpu=(at + 1, at + MS // 2), device=rank, name="ncclDevKernel_SendRecv")
    marked(made, LLAMA, world=2)

    asked = Asked(made, tmp_path, capsys)

    assert asked.is_left_out == is_split
    assert len(asked.flops) == 4


def test_attention_that_is_written_for_split_sequences_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = TraceBuilder().gpu()
    main = made.process().thread().push(0, 50 * MS, "forward").mark(1, MARK, domain="llmperf")
    main.push(MS, 20 * MS, "transformer_engine.AttnFuncWithCPAndKVAllGather.forward")
    main.launch(2 * MS, gpu=(3 * MS, 20 * MS))
    marked(made, LLAMA)

    assert Asked(made, tmp_path, capsys).is_left_out


@pytest.mark.parametrize(
    ("group", "size", "is_doubtful"),
    [("mesh_cp", 2, True), ("CONTEXT_PARALLEL_GROUP", 1, False), ("mesh_dp_shard_cp", 4, False)],
)
def test_groups_of_communication_tell_that_sequences_are_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], group: str, size: int, is_doubtful: bool
) -> None:
    trace = KinetoTrace()
    trace.annotation("forward", 0, 90_000)
    trace.annotation(f"llmperf:llmperf.run {json.dumps({'v': 1, 'model': LLAMA})}", 1, 1)
    trace.annotation(f"llmperf:{MARK}", 2, 2)
    trace.launch(10_000, gpu=(20_000, 45_000))
    trace.events[-1]["args"] |= {"Process Group Description": group, "Group size": size}

    assert Asked(trace, tmp_path, capsys).is_left_out == is_doubtful


def test_prompts_that_ranks_of_an_engine_share_have_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(**degrees: int) -> Asked:
        made = TraceBuilder().gpu()
        main = made.process().thread().push(0, 50 * MS, "prefill").mark(1, MARK, domain="llmperf")
        main.launch(2 * MS, gpu=(3 * MS, 20 * MS))
        marked(made, LLAMA, tp=1, **degrees)
        return Asked(made, tmp_path, capsys)

    shared, cache = asked(pcp=2, dcp=1), asked(pcp=1, dcp=2)

    assert shared.is_left_out  # `prompts_of_several_ranks`
    assert cache.flops == [HALVES // 2]
    # `cache_of_other_ranks`
    assert "KV bytes, and MBU with them, may be too high" in cache.said


@pytest.mark.parametrize(
    ("message", "gathers", "is_doubtful"),
    [
        # Keys and values of 512 tokens: two heads of 64 in bf16. Together, apart, and repeated for 8 heads.
        (2 * 512 * 2 * 64 * 2, 1, True),
        (512 * 2 * 64 * 2, 2, True),
        (2 * 512 * 8 * 64 * 2, 1, True),
        # Half of a layer's weights, norms included; and a gather of another matter.
        (projections(LLAMA, 1) // 2 // 4 + 512, 1, False),
        (512 * 2 * 64 * 2, 0, False),
    ],
)
def test_ranks_that_gather_keys_and_values_share_sequences(
    message: int, gathers: int, is_doubtful: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, events = TraceBuilder(), []
    for rank in (0, 1):
        main = made.gpu(rank).process(100 + rank).thread()
        main.push(0, 50 * MS, "forward").mark(1, MARK, domain="llmperf")
        main.launch(MS, gpu=(2 * MS, 10 * MS), device=rank)
        for number in range(4 * gathers or 1):
            at = (10 + 4 * number) * MS
            main.push(at, at + 100, "ncclAllGather", domain="NCCL")
            events.append((at, main.global_tid, payload(CALL, struct.pack("<QQQ", 0xABCD, message, 0))))
            main.launch(at + 10, gpu=(at + 20, at + MS), device=rank, name="ncclDevKernel_AllGather_RING_LL")
    marked(made, LLAMA, world=2)
    write = made.write
    made.write = lambda path: with_payloads(write(path), events)  # type: ignore[method-assign]

    assert Asked(made, tmp_path, capsys).is_left_out == is_doubtful
    if is_doubtful:
        assert Asked(made, tmp_path, capsys, "--cp", 2).flops == [WHOLE // 2] * 2
