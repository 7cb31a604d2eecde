"""Training steps: which passes make one, what it must compute, and what is run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import UsageError
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import Conventions, Estimator, Model, load_model
from nsys_pipeline.model.training import training_flops
from nsys_pipeline.records import Step
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.ask import ask, report_of, table
from tests.support.real_traces import SUFFIX, TRACES
from tests.support.trace_builder import ThreadBuilder, TraceBuilder
from tests.unit.model.configs import read_json

JOB = Path(__file__).resolve().parents[2] / "jobs" / "h200x2_fsdp_slow_rank"
PASSES = "SELECT part, step, forward_id IS NOT NULL AS has_forward FROM attribute.training_passes ORDER BY start_ns"

# Kernels as torch names them: of a forward, of its backward, and of fused AdamW.
ATTENTION, ATTENTION_BACK = "flash_fwd_kernel", "flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel"
PRODUCT, PRODUCT_BACK = "nvjet_128x128_TNT", "nvjet_128x128_NTT"
ADAMW = "multi_tensor_apply_kernel<Metadata<4>, FusedAdamMathFunctor<c10::BFloat16, 4>>(T1)"
MS = 1_000_000


def relation(
    trace: TraceBuilder | Path, query: str, folder: Path, options: AnalysisOptions | None = None
) -> list[tuple[object, ...]]:
    """Rows of relations below the views."""
    path = trace if isinstance(trace, Path) else trace.write(folder / "trace.sqlite")
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        opened.describe(options or AnalysisOptions())
        opened.build("attribute.training_passes", "attribute.training_step_spans", "attribute.recomputation")
        opened.build("attribute.optimizer_kernels", "views.training_steps", "views.training_summary")
        return opened.connection.execute(query).fetchall()


def ranges(thread: ThreadBuilder, text: str) -> None:
    """Passes one after the other, ten ns each: F, B, O."""
    names = {"F": "forward", "B": "backward", "O": "optimizer"}
    for place, letter in enumerate(text):
        thread.push(10 * place, 10 * place + 8, names[letter])


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("FBOFBO", [0, 0, 0, 1, 1, 1]),
        ("FBFBOFBFBO", [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),  # two micro-batches
        ("FFFBFBBBO", [0, 0, 0, 0, 0, 0, 0, 0, 0]),  # a pipeline's schedule
        ("FBOFFFBO", [0, 0, 0, None, None, 1, 1, 1]),  # evaluation in between
        ("FBFB", [0, 0, 1, 1]),  # no optimizer is marked
        ("FBOOFBO", [0, 0, 0, 0, 1, 1, 1]),  # two optimizers
        ("BOFBO", [0, 0, 1, 1, 1]),  # the recording begins in a step
        ("FFF", []),
    ],
)
def test_passes_of_a_step(text: str, steps: list[int | None], tmp_path: Path) -> None:
    trace = TraceBuilder()
    ranges(trace.process().thread(), text)

    assert [row[1] for row in relation(trace, PASSES, tmp_path)] == steps


@pytest.mark.parametrize(
    ("text", "of", "steps", "tokens"),
    [
        # two passes with one loss
        ("FFBOFFBO", [[1, 2], [3, 4]], [0] * 4 + [1] * 4, [32, 32]),
        # a pass that evaluates stands between
        ("FFFBO", [[1, 3]], [0, None, 0, 0, 0], [32]),
        # a backward of something else, whose FLOPs nobody knows
        ("FBBOFBBO", [[1], [], [2], []], [0] * 4 + [1] * 4, [16, 16]),
        # twice through one graph
        ("FBBO", [[1], [1]], [0] * 4, [16]),
        # a pass of which there is nothing in the trace: as without marks
        ("FBO", [[9]], [0, 0, 0], [16]),
    ],
)
def test_marks_say_which_forwards_a_backward_is_of(
    text: str, of: list[list[int]], steps: list[int | None], tokens: list[int], tmp_path: Path
) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    numbers, backwards = iter(range(1, 9)), iter(of)
    for place, letter in enumerate(text):
        at = 1000 * place
        main.push(at, at + 900, {"F": "forward", "B": "backward", "O": "optimizer"}[letter], domain="llmperf")
        main.launch(at + 100, gpu=(at + 200, at + 700), name=PRODUCT_BACK if letter == "B" else PRODUCT)
        if letter == "F":
            step = f'{{"q":8,"kv":0,"b":2,"logits":16,"pass":{next(numbers)}}}'
            main.mark(at + 1, f"llmperf.step {step}", domain="llmperf")
        if letter == "B":
            main.mark(at + 899, f'llmperf.backward {{"of":{next(backwards)}}}', domain="llmperf")

    path = trace.write(tmp_path / "trace.sqlite")
    assert [row[1] for row in relation(path, PASSES, tmp_path)] == steps
    options = attrs.evolve(tiny(), keep_cold=True)
    asked = "SELECT tokens, flops FROM training_steps WHERE is_complete ORDER BY step"
    rows = ask(path, asked, tmp_path, options=options).splitlines()[1:]
    forward = training_flops(load_model("tiny-llama"), Step.uniform(batch=2, q_tokens=8)).forward
    # forward and backward, of which a graph may have several
    passes = [3 * count // 16 + 2 * (text == "FBBO") for count in tokens]
    is_others = [] in of
    assert rows == [
        f"{count},{'' if is_others else forward * times}" for count, times in zip(tokens, passes, strict=True)
    ]
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        codes = [finding.code for finding in analyze(opened, options).findings]
    assert ("backward_of_others" in codes) == is_others
    assert "backward_in_parts" not in codes


def test_two_threads_of_a_process_train_apart(tmp_path: Path) -> None:
    trace = TraceBuilder()
    process = trace.process()
    for tid in (101, 102):
        ranges(process.thread(tid), "FBO")

    rows = relation(trace, "SELECT count(DISTINCT lane), count(*), max(step) FROM attribute.training_passes", tmp_path)

    assert rows == [(2, 6, 0)]


def test_a_step_begins_where_the_one_before_it_ended_and_evaluation_is_no_part_of_it(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.push(0, 10, "forward").push(10, 20, "backward").push(20, 30, "optimizer")
    main.launch(12, gpu=(13, 19)).launch(21, gpu=(22, 23), name="adam")
    # 25 ns of data loading, of which the GPU copies for 5
    main.launch(40, gpu=(41, 46), name="copy")
    main.push(55, 65, "forward").push(65, 75, "backward").push(75, 85, "optimizer").launch(70, gpu=(71, 90))
    main.launch(80, gpu=(90, 91), name="adam")
    # evaluates for 20 ns
    main.push(85, 105, "forward").launch(90, gpu=(92, 104))
    main.push(110, 120, "forward").push(120, 130, "backward").push(130, 140, "optimizer").launch(132, gpu=(135, 150))

    assert ask(
        trace,
        "SELECT step, start_ns, end_ns, input_wait_ns, gpu_busy_ns, is_complete FROM training_steps ORDER BY step",
        tmp_path,
    ) == table("""
        step, start_ns, end_ns, input_wait_ns, gpu_busy_ns, is_complete
        0,    0,        30,     0,             7,           true
        1,    30,       91,     25,            25,          true
        2,    105,      150,    5,             15,          true
    """)


def train(trace: TraceBuilder, *, again: int = 0, attention_again: int = 0, layers: int = 2, steps: int = 2) -> None:
    """Steps of a model with three products a layer and a head; `again` of them are run again."""
    main = trace.gpu().process().thread()
    at = 0

    def run(name: str, count: int) -> None:
        nonlocal at
        for _ in range(count):
            main.launch(at, gpu=(at + MS // 2, at + MS), name=name)
            at += MS

    for _ in range(steps):
        start = at
        run(ATTENTION, layers)
        run(PRODUCT, 3 * layers + 1)
        main.push(start, at, "forward")
        start = at
        run(PRODUCT_BACK, 6 * layers + 2)
        run(ATTENTION_BACK, layers)
        run(ATTENTION, attention_again * layers)
        run(PRODUCT, again * layers)
        main.push(start, at, "backward")
        start = at
        run(ADAMW, 1)
        main.push(start, at, "optimizer")


def tiny(*shapes: str, model: Model | None = None) -> AnalysisOptions:
    return AnalysisOptions(
        model=model or load_model("tiny-llama"), shapes=tuple(map(RequestShape.parse, shapes)), peaks={"bf16": 1e12},
        bandwidth_bytes_per_s=1e12,
    )  # fmt: skip


def llama_forward(model: dict[str, int], tokens: int, length: int) -> int:
    """FLOPs of a forward of `tokens` in sequences of `length` with all logits, from first principles."""
    width, heads, groups, size = model["d"], model["heads"], model["kv"], model["head_dim"]
    weights = 2 * width * heads * size + 2 * width * groups * size + 3 * width * model["ff"]
    pairs = tokens // length * (length * (length + 1) // 2)
    return (
        2 * tokens * (model["layers"] * weights + width * model["vocab"]) + model["layers"] * 4 * heads * size * pairs
    )


def test_utilization_of_copies_that_share_a_backward_is_that_of_all_gpus(tmp_path: Path) -> None:
    """`DataParallel` on two GPUs: each forward has one, the backward has both, and the optimizer has the first."""
    trace = TraceBuilder().gpu(0).gpu(1)
    process = trace.process()
    main = process.thread()
    for at in range(0, 500 * MS, 100 * MS):
        for gpu in range(2):
            thread = process.thread(tid=200 + at // MS + gpu).push(at + gpu, at + 20 * MS, "forward", domain="llmperf")
            thread.mark(at + gpu + 1, 'llmperf.step {"b":2,"q":16,"kv":0,"logits":32}', domain="llmperf")
            thread.launch(at + MS, gpu=(at + 2 * MS, at + 20 * MS), device=gpu)
            process.thread(tid=101 + gpu).launch(at + 21 * MS, gpu=(at + 22 * MS, at + 60 * MS), device=gpu)
        main.push(at + 20 * MS, at + 60 * MS, "backward", domain="llmperf")
        main.push(at + 60 * MS, at + 100 * MS, "optimizer", domain="llmperf")
        main.launch(at + 61 * MS, gpu=(at + 62 * MS, at + 100 * MS))
    path = trace.write(tmp_path / "trace.sqlite")

    report = report_of(path, tmp_path, tiny())

    flops = 3 * training_flops(load_model("tiny-llama"), Step.uniform(batch=4, q_tokens=16)).forward
    assert report.training is not None
    assert report.training.flops == 5 * flops
    # 100 ms of two GPUs; the first one is busy for 18, 38 and 38 ms of them, the second for 18 and 38.
    assert report.training.mfu_wall == pytest.approx(flops / 1e12 / (2 * 0.100))
    assert report.training.mfu_busy == pytest.approx(flops / 1e12 / (0.094 + 0.056))
    (rank,) = ask(path, "SELECT mfu_wall FROM rank_summary", tmp_path, options=tiny()).splitlines()[1:]
    assert float(rank) == pytest.approx(flops / 1e12 / (2 * 0.100))


def test_steps_of_passes_that_no_gpu_can_do_have_no_utilization(tmp_path: Path) -> None:
    """Autocast: the peak of fp32 is not that of what ran. Over the whole step, which waits, it would seem possible."""
    trace = TraceBuilder()
    train(trace)
    slow = attrs.evolve(tiny("2x16"), peaks={"bf16": 1e9})

    report, busy = report_of(trace, tmp_path, slow), 0.5e-3 * 9

    forward = {phase.name: phase for phase in report.phases}["forward"]
    assert (forward.flops or 0) / 2 / busy > 1e9, "the test's own premise"
    assert (forward.mfu_busy, forward.mfu_wall) == (None, None)
    assert report.training is not None
    assert report.training.flops
    assert (report.training.mfu_wall, report.training.mfu_busy, report.training.hfu_wall) == (None, None, None)
    assert [rank.mfu_wall for rank in report.ranks] == [None] * len(report.ranks)


@pytest.mark.parametrize(
    ("walls", "measured"),
    [
        # The optimizer is compiled in the first step, which therefore ends in the second one's time.
        ([5000, 900, 30, 31, 29, 30], 4),
        ([900, 30, 31, 29, 30], 4),
        # One that is slow later on is none of the first.
        ([30, 31, 900, 29, 30], 5),
        ([900, 30, 900, 29, 30, 31], 5),
    ],
)
def test_first_steps_that_are_far_slower_are_left_out(walls: list[int], measured: int, tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    at = 0
    for step, wall in enumerate(walls):
        # The first pass is slow itself, and later ones are alike: it is the time before them that differs.
        before = (wall - 20) * MS
        main.push(at + before * (step > 0), at + before + 8 * MS, "forward")
        at += before
        main.launch(at + 1, gpu=(at + MS, at + 7 * MS))
        main.push(at + 10 * MS, at + 20 * MS, "backward").launch(at + 11 * MS, gpu=(at + 12 * MS, at + 19 * MS))
        at += 20 * MS

    report = report_of(trace, tmp_path, attrs.evolve(tiny("2x16"), peaks={"bf16": 1e15}))

    assert report.training is not None
    assert report.training.steps == measured


def test_a_step_that_becomes_a_graph_is_none_that_ran(tmp_path: Path) -> None:
    """`torch.cuda.graph` around a whole step: its passes launch nothing, and the capture began before the first."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for step in range(4):
        at, is_captured = 20 * MS * step, step == 3
        if is_captured:
            main.call(at, api="cudaStreamBeginCapture_v10000")
        for name, begin in (("forward", at + MS), ("backward", at + 10 * MS)):
            main.push(begin, begin + 8 * MS, name)
            if is_captured:
                main.call(begin + 1)
            else:
                main.launch(begin + 1, gpu=(begin + MS, begin + 7 * MS))
        if is_captured:
            main.call(at + 19 * MS, api="cudaStreamEndCapture_v10000")

    report = report_of(trace, tmp_path, attrs.evolve(tiny("2x16"), peaks={"bf16": 1e15}))

    assert report.training is not None
    assert (report.training.steps, report.training.left_out) == (3, 1)
    assert report.training.mfu_busy is not None
    codes = {finding.code for finding in report.findings}
    assert not codes & {"passes_without_work", "nsys_lost_work", "graphs_outside"}


@pytest.mark.parametrize("is_marked", [False, True])
def test_replays_of_a_recorded_step_in_no_phase_are_told(is_marked: bool, tmp_path: Path) -> None:
    """Three steps run by themselves, then one is recorded, and the graph replays it in 5 ms each."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at in range(0, 60 * MS, 20 * MS):
        for name, begin in (("forward", at + MS), ("backward", at + 10 * MS)):
            main.push(begin, begin + 8 * MS, name).launch(begin + 1, gpu=(begin + MS, begin + 7 * MS))
    # One that has nothing to do with it, before the pass is recorded.
    main.graph_launch(60 * MS, nodes=[(60 * MS + 10, 60 * MS + 20)], graph_id=7)
    main.call(61 * MS, api="cudaStreamBeginCapture_v10000")
    for name, begin in (("forward", 62 * MS), ("backward", 70 * MS)):
        main.push(begin, begin + 7 * MS, name).call(begin + 1)
    main.call(79 * MS, api="cudaStreamEndCapture_v10000")
    for at in range(80 * MS, 120 * MS, 10 * MS):
        if is_marked:
            main.push(at, at + 9 * MS, "step")
        main.graph_launch(at + 1, nodes=[(at + MS, at + 3 * MS), (at + 3 * MS, at + 6 * MS)])

    found = {one.code: one for one in report_of(trace, tmp_path, tiny("2x16")).findings}

    if is_marked:
        assert "graphs_outside" not in found
        return
    told = found["graphs_outside"]
    assert told.at_stake_ns == 4 * 5 * MS
    assert told.message.startswith(
        "4 launches of CUDA graphs lie in no phase, and passes of backward, forward were recorded into graphs before"
    )


def test_a_recorded_pass_is_none_that_a_first_one_is_compared_with(tmp_path: Path) -> None:
    """The first of three passes takes 400 ms, and recording one 300 ms: the first is cold all the same."""
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for begin, wall in ((0, 400), (400, 20), (420, 20)):
        main.push(begin * MS, (begin + wall) * MS, "forward")
        main.launch(begin * MS + 1, gpu=((begin + wall - 8) * MS, (begin + wall - 1) * MS))
    main.call(441 * MS, api="cudaStreamBeginCapture_v10000")
    main.push(442 * MS, 742 * MS, "forward").call(442 * MS + 1)
    main.call(743 * MS, api="cudaStreamEndCapture_v10000")

    rows = ask(
        trace.write(tmp_path / "trace.sqlite"), "SELECT start_ns, is_cold FROM phases ORDER BY start_ns", tmp_path
    )

    assert [row.rpartition(",")[2].strip() for row in rows.splitlines()[1:]] == ["true", "false", "false", "true"]


def test_the_shape_of_a_micro_batch_gives_flops_to_all_passes(tmp_path: Path) -> None:
    trace = TraceBuilder()
    train(trace)
    model = load_model("tiny-llama")
    config: dict[str, int] = dict(model.config)
    sizes = {
        "d": config["hidden_size"], "heads": config["num_attention_heads"], "kv": config["num_key_value_heads"],
        "head_dim": config["hidden_size"] // config["num_attention_heads"], "ff": config["intermediate_size"],
        "layers": config["num_hidden_layers"], "vocab": config["vocab_size"],
    }  # fmt: skip
    forward = llama_forward(sizes, 32, 16)

    report = report_of(trace, tmp_path, tiny("2x16"))

    phases = {phase.name: phase for phase in report.phases}
    assert (phases["forward"].flops, phases["backward"].flops) == (2 * forward, 4 * forward)
    # AdamW reads gradient, weight and both moments, and writes three of them: seven times the weights in bf16, twice.
    assert (phases["optimizer"].flops, phases["optimizer"].bytes) == (None, 2 * 7 * 2 * model.params)
    assert report.training is not None
    assert (report.training.flops, report.training.tokens) == (6 * forward, 64)
    assert report.training.mfu_wall == pytest.approx(6 * forward / 1e12 / (report.training.wall_ns / 1e9))
    assert report.training.mfu_busy == pytest.approx(6 * forward / 1e12 / (report.training.gpu_busy_ns / 1e9))


def test_what_checkpointing_runs_again_is_seen(tmp_path: Path) -> None:
    query = "SELECT layers_ratio, products, products_again FROM attribute.recomputation"

    for again, attention, expected in ((0, 0, (0.0, 3, None)), (3, 1, (1.0, 3, 3)), (2, 1, (1.0, 3, 2))):
        trace = TraceBuilder()
        train(trace, again=again, attention_again=attention)
        assert relation(trace, query, tmp_path) == [expected]
        (tmp_path / "trace.sqlite").unlink()


@pytest.mark.parametrize(
    ("again", "attention", "is_known"), [(0, 0, True), (3, 1, True), (2, 1, True), (1, 1, False), (2, 0, False)]
)
def test_hfu_is_known_or_a_lower_bound(again: int, attention: int, is_known: bool, tmp_path: Path) -> None:
    trace = TraceBuilder()
    train(trace, again=again, attention_again=attention)

    report = report_of(trace, tmp_path, tiny("2x16"))

    summary = report.training
    assert summary is not None
    assert summary.mfu_busy is not None
    found = [one for one in report.findings if one.code == "recomputation_unknown"]
    assert (summary.hfu_busy is not None, not found) == (is_known, is_known)
    if is_known:
        assert (summary.hfu_busy == summary.mfu_busy) is (again == 0)
        assert found == []


def test_several_shapes_are_those_of_the_forwards_in_order(tmp_path: Path) -> None:
    trace = TraceBuilder()
    train(trace, steps=2)
    path = trace.write(tmp_path / "trace.sqlite")

    report = report_of(path, tmp_path, tiny("2x16", "1x8"))

    assert [(row.shape, row.tokens) for phase in report.phases if phase.name == "backward" for row in phase.shapes] == [
        ("2x16", 32), ("1x8", 8),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="3 shapes for 2 forward passes"):
        report_of(path, tmp_path, tiny("2x16", "1x8", "1x9"))
    with pytest.raises(UsageError, match="generates no tokens"):
        report_of(path, tmp_path, tiny("2x16+4"))


def test_an_optimizer_that_nobody_names_has_no_bytes(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    ranges(main, "FBO")
    main.launch(1, gpu=(2, 3)).launch(22, gpu=(24, 27), name="my_update")

    report = report_of(trace, tmp_path, tiny("1x16"))

    (found,) = [one for one in report.findings if one.code == "optimizer_bytes_unknown"]
    assert "neither its kernels nor a range" in found.message
    assert [phase.bytes for phase in report.phases if phase.name == "optimizer"] == [None]


def test_frozen_weights_and_adapters_take_from_the_backward(tmp_path: Path) -> None:
    trace = TraceBuilder()
    train(trace)
    path = trace.write(tmp_path / "trace.sqlite")

    def flops(**changes: Any) -> list[int]:
        report = report_of(path, tmp_path, attrs.evolve(tiny("2x16"), **changes))
        return [phase.flops or 0 for phase in report.phases if phase.name in ("forward", "backward")]

    (forward, backward), (same, less), (more, adapted) = flops(), flops(train_only="lm_head"), flops(lora_rank=4)

    assert same == forward
    assert more > forward
    assert 0 < less < backward
    # by hand, of two steps: the gradient of the head's weights, and of nothing below them
    config = load_model("tiny-llama").config
    assert less == 2 * (2 * (2 * 16) * config["hidden_size"] * config["vocab_size"])
    assert forward < adapted < backward


@pytest.mark.parametrize("told", [{"train_only": "lm_head"}, {"lora_rank": 4}])
def test_the_run_s_own_mark_says_which_weights_are_trained(told: dict[str, Any], tmp_path: Path) -> None:
    def flops(name: str, said: dict[str, Any], options: AnalysisOptions) -> list[int | None]:
        trace = TraceBuilder()
        train(trace)
        trace.process(pid=99).thread().mark(1, f"llmperf.run {json.dumps({'v': 1, **said})}", domain="llmperf")
        report = report_of(trace.write(tmp_path / name), tmp_path, options)
        return [phase.flops for phase in report.phases if phase.name in ("forward", "backward")]

    marked = flops("marked.sqlite", told, tiny("2x16"))
    assert marked == flops("told.sqlite", {}, attrs.evolve(tiny("2x16"), **told))
    assert marked != flops("plain.sqlite", {}, tiny("2x16"))


@pytest.mark.parametrize(
    ("frozen", "is_known"), [("vision_tower|projector", True), ("vision_tower", True), (r"linear_2\.", False)]
)
def test_a_frozen_tower_is_heeded_in_steps_with_images(frozen: str, is_known: bool, tmp_path: Path) -> None:
    """Steps of 20 tokens with an image of 3 x 3 patches; a half of a projector is no part that is told apart."""
    config = read_json("tower_configs.json")["llava"]["config"]
    trained = f"^(?!.*(?:{frozen}))"
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    main.mark(1, f"llmperf.run {json.dumps({'v': 1, 'model': config, 'train_only': trained})}", domain="llmperf")
    shape = '{"b":1,"q":20,"kv":0,"logits":20,"images":[[3,3]]}'
    for start in range(0, 80 * MS, 20 * MS):
        main.push(start, start + 8 * MS, "forward").mark(start + 1, f"llmperf.step {shape}", domain="llmperf")
        main.launch(start + MS, gpu=(start + 2 * MS, start + 8 * MS))
        main.push(start + 8 * MS, start + 20 * MS, "backward")
        main.launch(start + 9 * MS, gpu=(start + 10 * MS, start + 20 * MS))
    report = report_of(trace, tmp_path, AnalysisOptions())

    model, step = Model.from_config(config), Step.uniform(batch=1, q_tokens=20, logits=20)
    step = attrs.evolve(step, images=((3, 3),))
    assert ("no_estimate" in {one.code for one in report.findings}) != is_known
    if is_known:
        backward = training_flops(model, step, train_only=trained).backward
        assert backward < training_flops(model, step).backward
        assert [phase.flops for phase in report.phases if phase.name == "backward"] == [4 * backward]


@pytest.mark.parametrize("said", [{"train_only": "("}, {"train_only": "no_such"}, {"lora_rank": 4, "lora_on": "["}])
def test_a_mark_that_makes_no_sense_leaves_the_estimate_out(said: dict[str, Any], tmp_path: Path) -> None:
    trace = TraceBuilder()
    train(trace)
    trace.process(pid=99).thread().mark(1, f"llmperf.run {json.dumps({'v': 1, **said})}", domain="llmperf")

    report = report_of(trace, tmp_path, tiny("2x16"))

    assert [one.code for one in report.findings if one.code == "no_estimate"] == ["no_estimate"]
    assert {phase.flops for phase in report.phases} == {None}


@pytest.mark.parametrize(("again", "checkpointing"), [(0, "none"), (2, "none"), (3, "full")])
def test_only_reentrant_checkpointing_wants_gradients_below_the_first_trained_weight(
    again: int, checkpointing: str, tmp_path: Path
) -> None:
    """Of three products a layer, non-reentrant checkpointing runs two again, and reentrant all of them."""
    trace = TraceBuilder()
    train(trace, again=again, attention_again=bool(again))
    options = attrs.evolve(tiny("2x16"), train_only="lm_head")
    report = report_of(trace, tmp_path, options)
    step = Step.uniform(batch=2, q_tokens=16)
    expected = training_flops(
        load_model("tiny-llama"), step, checkpointing=checkpointing, train_only="lm_head"
    ).backward
    (backward,) = [phase.flops for phase in report.phases if phase.name == "backward"]
    (shape,) = [phase.shapes[0] for phase in report.phases if phase.name == "backward"]
    assert backward == expected * shape.occurrences


@pytest.mark.parametrize(
    ("name", "changes", "copies"),
    [
        ("tiny-llama", {"conventions": Conventions(tp=2)}, 1),
        ("tiny-llama", {"conventions": Conventions(pp=2)}, 1),
        ("olmoe-1b-7b", {"conventions": Conventions(tp=2, ep=2)}, 1),
        # Experts of ranks that have tokens of their own.
        ("olmoe-1b-7b", {"conventions": Conventions(ep=2), "dp": 2}, 2),
        ("olmoe-1b-7b", {"conventions": Conventions(ep=2)}, 2),
        ("tiny-llama", {"dp": 2}, 2),
    ],
)
def test_ranks_that_share_a_model_are_charged_it_once(
    name: str, changes: dict[str, Any], copies: int, tmp_path: Path
) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    for device in (0, 1):
        main = trace.process(100 + device).thread()
        for step in range(2):
            at = 30 * MS * step
            for phase in ("forward", "backward", "optimizer"):
                main.push(at, at + 10 * MS, phase)
                kernel = ADAMW if phase == "optimizer" else "gemm"
                main.launch(at, gpu=(at + 10, at + 9 * MS), device=device, name=kernel)
                at += 10 * MS
    model = load_model(name)
    options = attrs.evolve(
        tiny("2x16", model=model), **changes, is_degree_told=True, peaks={"bf16": 1e15}, bandwidth_bytes_per_s=1e15
    )
    micro_batch = Step.uniform(batch=2, q_tokens=16, logits=32)

    summary = report_of(trace, tmp_path, options).training

    assert summary is not None
    whole = training_flops(model, micro_batch).required
    # Two steps, each by two ranks; what does not divide is rounded down.
    assert summary.flops is not None
    assert 2 * copies * whole - 8 < summary.flops <= 2 * copies * whole
    assert summary.tokens == 2 * copies * 32
    assert summary.mfu_wall == pytest.approx(summary.flops / 1e15 / (summary.wall_ns / 1e9))


def test_options_of_training_that_cannot_be(tmp_path: Path) -> None:
    trace = TraceBuilder()
    train(trace, steps=1)
    path = trace.write(tmp_path / "trace.sqlite")

    wrong: list[tuple[dict[str, Any], str]] = [
        ({"train_only": "no_such_weight"}, "finds no weight"),
        ({"train_only": "q_proj", "lora_rank": 4}, "not both"),
        ({"conventions": Conventions(ep=2)}, "no routed experts"),
    ]
    for changes, message in wrong:
        with pytest.raises(UsageError, match=message):
            report_of(path, tmp_path, attrs.evolve(tiny("2x16"), **changes))


def test_fsdp_with_checkpointing_on_two_gpus() -> None:
    # given FSDP2 with non-reentrant checkpointing, fused AdamW, 4 x 2048 tokens on each of two ranks, a trace for each
    model = {"d": 2048, "ff": 5632, "layers": 8, "heads": 16, "kv": 4, "head_dim": 128, "vocab": 32000}
    tokens, peak, bandwidth = 8192, 989.5e12, 4.8e12
    forward = llama_forward(model, tokens, 2048)
    # all but the head and the last product of each layer
    again = forward - 2 * tokens * 2048 * 32000 - 8 * 2 * tokens * 2048 * 5632

    with open_trace(JOB, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)

    summary = report.training
    assert summary is not None
    assert summary.flops is not None
    assert (summary.steps, summary.left_out, summary.rank_count, summary.device_count) == (10, 2, 2, 2)
    assert summary.tokens == 10 * tokens
    assert (summary.flops, summary.recomputed_flops) == (30 * forward, 10 * again)
    assert summary.mfu_wall == pytest.approx(30 * forward / peak / (summary.wall_ns / 1e9), rel=1e-6)
    assert summary.hfu_wall == pytest.approx((30 * forward + 10 * again) / peak / (summary.wall_ns / 1e9), rel=1e-6)
    assert summary.tokens_per_s_per_gpu == pytest.approx(10 * tokens / (summary.wall_ns / 1e9))
    # Docs say 130.4 ms a step under nsys, of which rank 1 sleeps 30.
    assert summary.median_wall_ns / 1e6 == pytest.approx(127.3, abs=0.1)
    optimizer = next(phase for phase in report.phases if phase.name == "optimizer")
    # each of 10 occurrences that are not cold updates half of the weights
    params = 2 * 32000 * 2048 + 8 * (2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 5632 + 2 * 2048) + 2048
    moved = 10 * (7 * 2 * params // 2)
    assert optimizer.bytes == moved
    assert optimizer.measured_busy_ns is not None
    assert optimizer.mbu_busy == pytest.approx(moved / bandwidth / (optimizer.measured_busy_ns / 1e9), rel=1e-6)


def test_a_trace_without_marks_is_told_its_model_and_shape() -> None:
    # given three steps of a model with 4 layers, foreach AdamW: op by op over lists of tensors
    config = {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 4,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    }  # fmt: skip
    options = AnalysisOptions(model=Model.from_config(config), shapes=(RequestShape.parse("4x1024"),))
    sizes = {"d": 2048, "ff": 8192, "layers": 4, "heads": 32, "kv": 8, "head_dim": 64, "vocab": 128256}
    forward = llama_forward(sizes, 4096, 1024)

    with open_trace(TRACES / f"h100_train{SUFFIX}", TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, options)

    summary = report.training
    assert summary is not None
    assert (summary.steps, summary.left_out, summary.flops, summary.recomputed_flops) == (2, 1, 6 * forward, 0)
    mfu = 6 * forward / 989.4e12 / (summary.gpu_busy_ns / 1e9)
    assert summary.hfu_busy == summary.mfu_busy == pytest.approx(mfu, rel=1e-6)
    codes = {one.code for one in report.findings}
    assert not codes & {
        "shapes_without_requests",
        "recomputation_unknown",
        "optimizer_bytes_unknown",
        "model_does_not_fit",
    }


@pytest.mark.parametrize(
    ("later", "is_known"),
    [
        ({}, True),
        # Said again before any pass of training: adapters were added.
        ({"lora_rank": 4, "lora_on": r"\.q_proj\.weight$"}, True),
        ({"train_only": "lm_head", "retrained": True}, False),
        ({"trained_unknown": True}, False),
    ],
)
def test_what_is_trained_may_be_said_again(later: dict[str, object], is_known: bool, tmp_path: Path) -> None:
    model = load_model("tiny-llama")
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    for at, fields in enumerate(({}, later)):
        run = json.dumps({"v": 1, "model": model.config, "dtype": "bf16", **fields})
        main.mark(at + 1, f"llmperf.run {run}", domain="llmperf")
    for place, letter in enumerate("FBOFBO"):
        at = 1000 * (place + 1)
        main.push(at, at + 900, {"F": "forward", "B": "backward", "O": "optimizer"}[letter], domain="llmperf")
        main.launch(at + 100, gpu=(at + 200, at + 700), name=PRODUCT_BACK if letter == "B" else PRODUCT)
        if letter == "F":
            main.mark(at + 1, 'llmperf.step {"q":8,"kv":0,"b":2,"logits":16}', domain="llmperf")

    path = trace.write(tmp_path / "trace.sqlite")
    asked = "SELECT step, flops FROM training_steps ORDER BY step"
    rows = ask(path, asked, tmp_path, options=AnalysisOptions(keep_cold=True))
    told = {name: later[name] for name in ("lora_rank", "lora_on") if name in later}
    expected = training_flops(model, Step.uniform(batch=2, q_tokens=8), **told)  # type: ignore[arg-type]
    by_hand = str(expected.forward + expected.backward) if is_known else ""
    assert rows.splitlines()[1:] == [f"0,{by_hand}", f"1,{by_hand}"]
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        codes = [finding.code for finding in analyze(opened, AnalysisOptions(keep_cold=True)).findings]
    found = {"trained_weights_change", "trained_weights_unknown"} & set(codes)
    assert len(found) == (not is_known)


def test_each_pass_of_two_stacks_runs_its_encoder(tmp_path: Path) -> None:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100}
    model = Model.from_config({"model_type": "t5", **sizes})
    trace = TraceBuilder().gpu()
    main = trace.process().thread()
    run = json.dumps({"v": 1, "model": model.config, "dtype": "bf16"})
    main.mark(1, f"llmperf.run {run}", domain="llmperf")
    for place, letter in enumerate("FBFBOFBO"):
        at = 1000 * (place + 1)
        main.push(at, at + 900, {"F": "forward", "B": "backward", "O": "optimizer"}[letter], domain="llmperf")
        main.launch(at + 100, gpu=(at + 200, at + 700), name=PRODUCT_BACK if letter == "B" else PRODUCT)
        if letter == "F":
            mark = 'llmperf.step {"q":5,"kv":0,"b":2,"logits":10,"encoder":[9,6],"padded":[5,0,10,9]}'
            main.mark(at + 1, mark, domain="llmperf")

    path = trace.write(tmp_path / "trace.sqlite")
    asked = "SELECT step, flops FROM training_steps ORDER BY step"
    rows = ask(path, asked, tmp_path, options=AnalysisOptions(keep_cold=True))
    step = Step((5, 5), (0, 0), 10, encoder_tokens=(9, 6))
    forward = Estimator(model, Conventions()).totals([step])[0].flops
    assert rows.splitlines()[1:] == [f"0,{6 * forward}", f"1,{3 * forward}"]
