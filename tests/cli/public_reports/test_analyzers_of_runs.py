"""What viewers and analyzers made of a run: time of the profiler itself, steps of several passes, what is refused."""

from __future__ import annotations

import gzip
import json

import attrs
import pytest

from nsys_pipeline.model import Model
from nsys_pipeline.model.training import training_flops
from nsys_pipeline.records import Step
from tests.cli.public_reports.common import LLAMA, US, codes, message, phase
from tests.cli.run import MS, Cli, run
from tests.support.kineto import KinetoTrace
from tests.support.trace_builder import ThreadBuilder, TraceBuilder
from tests.unit.model.configs import FULL, read_json

TOWERS = read_json("tower_configs.json")


def at_stake(report: dict[str, object], code: str) -> list[tuple[object, object]]:
    findings = report["findings"]
    assert isinstance(findings, list)
    return [(one["phase"], one["at_stake_ns"]) for one in findings if one["code"] == code]


@pytest.mark.parametrize("is_marked", [True, False])
def test_the_profilers_time_on_threads_of_autograd_is_told(is_marked: bool, cli: Cli) -> None:
    """Four backwards of 120 ms; their thread has no range, and nsys takes 40 ms of it between two launches."""
    trace = TraceBuilder().gpu()
    process = trace.process()
    main, autograd = process.thread(), process.thread(200, name="pt_autograd_0")
    for at in range(0, 480 * MS, 120 * MS):
        if is_marked:
            main.push(at, at + 120 * MS, "backward")
        autograd.launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS))
        name = trace.string("Buffer requests")
        trace.row(
            "PROFILER_OVERHEAD", start=at + 30 * MS, end=at + 70 * MS, globalTid=autograd.global_tid, nameId=name,
            returnValue=0,
        )  # fmt: skip
        autograd.launch(at + 80 * MS, gpu=(at + 81 * MS, at + 119 * MS))

    report = cli.analyze(trace)

    assert at_stake(report, "profiler_overhead") == [("backward" if is_marked else None, 160 * MS)]
    assert "160.0 ms of the host's time, most of it for `Buffer requests`" in message(report, "profiler_overhead")


def test_torch_profilers_own_time_is_told(cli: Cli) -> None:
    """Ten decode steps of 20 ms; in one of them the profiler takes 60 ms more, as an event of no thread."""
    trace, at = KinetoTrace(), 0
    for step in range(10):
        length = 80 * MS if step == 5 else 20 * MS
        trace.annotation("decode", at, at + length)
        trace.launch(at + 20 * US, gpu=(at + MS, at + 10 * MS))
        if step == 5:
            trace.event("overhead", "Activity Buffer Request", at + 11 * MS, at + 71 * MS, -1, 0)
        trace.launch(at + length - 9 * MS, gpu=(at + length - 8 * MS, at + length - MS))
        at += length

    report = cli.analyze(trace, "--keep-cold")

    assert phase(report, "decode")["wall_ns"] == 260 * MS
    assert at_stake(report, "profiler_overhead") == [("decode", 60 * MS)]


def a_pass(main: ThreadBuilder, at: int) -> int:
    """The kernels of a pass of `LLAMA` and its sampling, 100 µs each."""
    layer = ["nvjet_qkv", "flash_fwd_splitkv_kernel", "nvjet_o", "nvjet_gate_up", "silu_and_mul_kernel", "nvjet_down"]
    for name in [*layer * 4, "nvjet_head", "argmax_kernel"]:
        main.launch(at, gpu=(at + 10 * US, at + 100 * US), name=name)
        at += 100 * US
    return at


@pytest.mark.parametrize("passes", [1, 8])
def test_engine_steps_of_several_passes_are_told_without_a_prefill(passes: int, cli: Cli) -> None:
    """Six steps of an engine whose texts say one token for each of four requests; each runs so many passes."""
    trace, at = TraceBuilder().gpu(), 0
    main = trace.process().thread()
    for _ in range(6):
        start = at
        for _ in range(passes):
            at = a_pass(main, at)
        main.push(start, at, "execute_context_0(0)_generation_4(4)")

    for options in [(), ("--model", cli.config(LLAMA))]:
        report = cli.analyze(trace, *options)
        assert "model_does_not_fit" not in codes(report)
        assert ("several_passes" in codes(report)) is (passes > 1)
    if passes > 1:
        assert "runs the layers 8 times, by its samplings" in message(report, "several_passes")


def test_traces_of_jax_are_refused(cli: Cli) -> None:
    """What jax.profiler writes for Perfetto: events without categories, of GPUs and of hosts."""
    events = [{"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "/device:GPU:0"}}, {}]
    events += [{"ph": "X", "pid": 1, "tid": 14, "ts": 1.0, "dur": 2.0, "name": "fusion", "args": {}}]
    path = cli.folder / "perfetto_trace.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"displayTimeUnit": "ns", "traceEvents": events}).encode()))

    code, out, err = run(cli.capsys, "analyze", path)

    assert (code, out) == (1, "")
    assert "is no trace of torch.profiler" in err


@pytest.mark.parametrize(("name", "grid", "backward"), [("blip", (3, 3), 6_566_144), ("mllama", (6, 6), None)])
def test_gradients_of_passes_with_images(name: str, grid: tuple[int, int], backward: int | None) -> None:
    """FlopCounterMode on transformers 5.24, all weights trained; masks of tiles are no part of a model's FLOPs."""
    model = Model.from_config(TOWERS[name]["config"], name)
    step = attrs.evolve(Step.uniform(batch=2, q_tokens=7), images=(grid,) * 2)
    trained = training_flops(model, step, FULL if backward else None)
    if backward:
        assert trained.backward == backward
    assert trained.forward < trained.backward < 2 * trained.forward
