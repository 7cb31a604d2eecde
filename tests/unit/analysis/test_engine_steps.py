"""Steps that engines mark themselves: real servers, whose ranges say requests and tokens but not lengths."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.errors import UsageError
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import Model
from nsys_pipeline.records import Report
from nsys_pipeline.report.document import Notes, Table
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.rules.stated import StatedStep
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support import real_traces
from tests.support.ask import ask
from tests.support.trace_builder import TraceBuilder

LONGEST = 4096
LAYERS, WIDTH, INNER, HEADS, KV_HEADS, HEAD, VOCAB = 12, 2560, 9728, 32, 8, 128, 32000
QWEN3 = {
    "model_type": "qwen3", "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "vocab_size": VOCAB,
    "max_position_embeddings": LONGEST, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip


def product_flops(tokens: int, logits: int) -> int:
    """By hand: two FLOPs for each weight and token, and for each weight of the head and position."""
    attention = WIDTH * HEAD * (HEADS + 2 * KV_HEADS) + HEADS * HEAD * WIDTH
    return 2 * tokens * LAYERS * (attention + 3 * WIDTH * INNER) + 2 * logits * VOCAB * WIDTH


def attention_flops(sequences: list[tuple[int, int]]) -> int:
    """By hand: scores and values, for each new token over itself and all before it."""
    pairs = sum(position + 1 for q, kv in sequences for position in range(kv, kv + q))
    return LAYERS * 4 * HEADS * HEAD * pairs


def even(total: int, parts: int) -> list[int]:
    return [total // parts + (index < total % parts) for index in range(parts)]


def steps_in(path: Path) -> list[tuple[int, int, int, int]]:
    """Requests and tokens of prompts, then of requests that generate, read from the ranges without any of our code."""
    pattern = re.compile(r"execute_context_(\d+)\((\d+)\)_generation_(\d+)\((\d+)\)")
    with sqlite3.connect(path) as connection:
        texts = connection.execute(
            "SELECT coalesce(n.text, s.value) FROM NVTX_EVENTS AS n LEFT JOIN StringIds AS s ON s.id = n.textId"
        )
        found = [pattern.fullmatch(text) for (text,) in texts if text]
    numbers = [tuple(map(int, match.groups())) for match in found if match]
    return [(a, b, c, d) for a, b, c, d in numbers if a + c]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_traces.unpack_by_name("h200_vllm_serve", tmp_path_factory.mktemp("served"))


def report_of(path: Path, model: Model | None, **options: int) -> Report:
    with open_trace(path, TraceOptions(use_cache=False)) as trace:
        return analyze(trace, AnalysisOptions(model=model, **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bounded(served: Path) -> Report:
    """With a longest sequence: the model's."""
    return report_of(served, Model.from_config(QWEN3))


@pytest.fixture(scope="module")
def unlimited(served: Path) -> Report:
    """Without one."""
    return report_of(served, Model.from_config({**QWEN3, "max_position_embeddings": None}))


def test_products_are_exact_and_attention_has_bounds(served: Path, bounded: Report) -> None:
    report = bounded
    products, least, most, tokens, counts = (Counter[str]() for _ in range(5))
    for prompts, prompt_tokens, running, running_tokens in steps_in(served):
        kind = "mixed" if prompts and running else "prefill" if prompts else "decode"
        counts[kind] += 1
        tokens[kind] += prompt_tokens + running_tokens
        products[kind] += product_flops(prompt_tokens + running_tokens, prompts + running)
        begun = [(q, 0) for q in (even(prompt_tokens, prompts) if prompts else [])] + [(1, 1)] * running
        least[kind] += attention_flops(begun)
        most[kind] += attention_flops([(q, LONGEST - q) for q, _ in begun])
    found = {phase.name: phase for phase in report.phases}
    assert counts == {"prefill": 2, "decode": 113, "mixed": 9}
    for name, phase in found.items():
        assert (phase.counted_occurrences, phase.tokens) == (counts[name], tokens[name])
        assert (phase.flops_min, phase.flops_max) == (products[name] + least[name], products[name] + most[name])
        assert phase.product_flops == products[name]
        assert (phase.attention_flops_min, phase.attention_flops_max) == (least[name], most[name])
        # between bounds there is no number, and no utilization that looks exact
        numbers = (phase.flops, phase.bytes, phase.mfu_wall, phase.mfu_busy, phase.mbu_busy, phase.sol_ns)
        assert set(numbers) == {None}
        # unless the least that it must compute takes half of the busy time
        assert phase.bound == (None if name == "decode" else "compute-bound")
        assert phase.mfu_busy_min is not None
        assert phase.mfu_busy_max is not None
        assert 0 < phase.mfu_busy_min < phase.mfu_busy_max < 1
        # the bounds of a shape decide for it, as those of its phase do
        certain = {row.bound for row in phase.shapes if row.shape in {"2x?", "8x?"}}
        assert certain == (set() if name == "decode" else {"compute-bound"})
    assert Counter(finding.code for finding in report.findings)["lengths_unknown"] == 3


def shape_of(prompts: int, prompt_tokens: int, running: int) -> str:
    """By hand: batch x new tokens of a request, where they can be known."""
    if prompts > 1:
        return f"{prompts + running}x?"
    lengths = [*([1] if running else []), *([prompt_tokens] if prompts else [])]
    return f"{prompts + running}x{'..'.join(map(str, lengths))}"


@pytest.mark.parametrize("longest", [None, LONGEST])
def test_each_shape_has_its_products_and_its_range(
    served: Path, bounded: Report, unlimited: Report, longest: int | None
) -> None:
    report = bounded if longest else unlimited
    products, least, most = (Counter[str]() for _ in range(3))
    for prompts, prompt_tokens, running, running_tokens in steps_in(served):
        kind = "mixed" if prompts and running else "prefill" if prompts else "decode"
        shape = f"{kind} {shape_of(prompts, prompt_tokens, running)}"
        begun = [(q, 0) for q in (even(prompt_tokens, prompts) if prompts else [])] + [(1, 1)] * running
        products[shape] += product_flops(prompt_tokens + running_tokens, prompts + running)
        least[shape] += attention_flops(begun)
        most[shape] += attention_flops([(q, LONGEST - q) for q, _ in begun])
    rows = {f"{phase.name} {row.shape}": row for phase in report.phases for row in phase.shapes}
    assert {name: row.product_flops for name, row in rows.items()} == dict(products)
    for name, row in rows.items():
        assert row.flops is None
        assert row.flops_min == products[name] + least[name]
        assert row.flops_max == (products[name] + most[name] if longest else None)
    for phase in report.phases:
        assert phase.product_flops == sum(row.product_flops or 0 for row in phase.shapes)
        assert phase.attention_flops_max is None or longest


def section_table(report: Report, name: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Cells by heading of the table of a section, and the notes below it; nothing where there is no such section."""
    for section in report_document(report).sections:
        if section.name == name:
            table = next(block for block in section.blocks if isinstance(block, Table))
            notes = [note.text for block in section.blocks if isinstance(block, Notes) for note in block.notes]
            return {column.label: column.cells for column in table.columns}, notes
    return {}, []


def test_readers_are_shown_products_and_attention_apart(bounded: Report, unlimited: Report) -> None:
    cells, _ = section_table(bounded, "products and attention")
    assert cells["products TFLOP"] == ("7.51", "1.34", "56.77")
    assert cells["attention TFLOP"] == ("0.444–2.053", "<0.001–0.418", "3.065–15.810")
    cells, _ = section_table(unlimited, "products and attention")
    assert cells["products TFLOP"] == ("7.51", "1.34", "56.77")
    assert cells["attention TFLOP"] == ("≥0.444", "≥0", "≥3.065")


def test_tokens_that_nobody_tells_leave_the_products_open(tmp_path: Path) -> None:
    """TensorRT-LLM's older text: how many tokens its requests generate is not in it, and so no product is exact."""
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    main.push(0, 90, "[Executor] _forward_step: 0 ctx reqs, 2 gen reqs").launch(10, gpu=(20, 80))
    (phase,) = report_of(builder.write(tmp_path / "trace.sqlite"), Model.from_config(QWEN3)).phases
    assert (phase.tokens, phase.product_flops, phase.attention_flops_min) == (None, None, None)
    assert phase.flops_min == product_flops(2, 2) + attention_flops([(1, 1)] * 2)


def test_exact_steps_have_their_products_too(tmp_path: Path) -> None:
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    main.push(0, 90, "decode", domain="llmperf").mark(1, 'llmperf.step {"q":1,"kv":[9,8]}', domain="llmperf")
    main.launch(10, gpu=(20, 80))
    report = report_of(builder.write(tmp_path / "trace.sqlite"), Model.from_config(QWEN3))
    (phase,) = report.phases
    attention = attention_flops([(1, 9), (1, 8)])
    assert phase.product_flops == product_flops(2, 2)
    assert (phase.attention_flops_min, phase.attention_flops_max) == (attention, attention)
    # There the sum is enough.
    assert section_table(report, "products and attention") == ({}, [])


def test_of_hundreds_of_shapes_the_longest_are_shown(tmp_path: Path) -> None:
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    for batch in range(1, 31):
        start = 1000 * batch
        main.push(start, start + 10 * batch, "decode", domain="llmperf")
        main.mark(start + 1, f'llmperf.step {{"q":1,"kv":7,"b":{batch}}}', domain="llmperf")
    report = report_of(builder.write(tmp_path / "trace.sqlite"), None)
    assert [len(phase.shapes) for phase in report.phases] == [30]
    cells, notes = section_table(report, "by shape")
    assert cells["shape"] == tuple(f"{batch}x1" for batch in range(19, 31))
    (note,) = notes
    assert note.startswith("and 18 more shapes, 0.002 ms of wall time in all")


def test_operations_of_a_step_are_exact_but_for_attention(served: Path, tmp_path: Path) -> None:
    query = """
        SELECT string_agg(DISTINCT name) FILTER (WHERE flops IS NULL) AS open,
            sum(flops * layers * occurrences)::BIGINT AS products
        FROM ops WHERE phase = 'prefill'
    """
    answer = ask(served, query, tmp_path, options=AnalysisOptions(model=Model.from_config(QWEN3)))
    steps = [(a, b) for a, b, running, _ in steps_in(served) if not running]
    assert answer.splitlines()[1:] == [f"attention,{sum(product_flops(tokens, count) for count, tokens in steps)}"]


def test_products_are_operations_without_a_longest_sequence_too(served: Path, tmp_path: Path) -> None:
    query = """
        SELECT kind, count(flops) = count(*) AS is_exact FROM ops
        GROUP BY kind HAVING max(flops) > 0 OR kind = 'attention' ORDER BY kind
    """
    model = Model.from_config({**QWEN3, "max_position_embeddings": None})
    answer = ask(served, query, tmp_path, options=AnalysisOptions(model=model))
    assert answer.splitlines()[1:] == ["attention,false", "gemm,true"]


def test_a_shorter_longest_sequence_narrows_the_bounds(served: Path, bounded: Report) -> None:
    shorter = report_of(served, Model.from_config(QWEN3), max_context=3040)
    wide, narrow = ({phase.name: phase for phase in report.phases}["decode"] for report in (bounded, shorter))
    assert wide.flops_min == narrow.flops_min
    assert wide.flops_max is not None
    assert narrow.flops_max is not None
    assert wide.flops_max > narrow.flops_max


def test_a_longest_sequence_that_a_step_exceeds_is_refused(tmp_path: Path) -> None:
    """Of two prompts of 1,001 tokens one has 501 or more."""
    builder = TraceBuilder().gpu()
    builder.process().thread().push(0, 90, "execute_context_2(1001)_generation_3(3)").launch(10, gpu=(20, 80))
    trace, model = builder.write(tmp_path / "trace.sqlite"), Model.from_config(QWEN3)
    (phase,) = report_of(trace, model, max_context=501).phases
    assert phase.flops_max is not None
    with pytest.raises(UsageError, match=r"--max-context 500: a request of the step .* has 501 tokens or more"):
        report_of(trace, model, max_context=500)


def test_the_longest_sequence_that_a_text_allows() -> None:
    """A request that generates has its new token and one before it; with sums, the cached tokens are known."""

    def stated(**groups: str) -> int | None:
        step = StatedStep.read(groups)
        return None if step is None else step.least_context

    assert stated(context_requests="1", context_tokens="700") == 700
    assert stated(generation_requests="3", generation_tokens="3") == 2
    assert stated(generation_requests="3") == 2
    sums = {"generation_keys": "303", "generation_squares": "3", "generation_products": "303"}
    assert stated(generation_requests="3", generation_tokens="3", **sums) == 101


def phase_table(report: Report) -> Table:
    """The table of phases, wherever in the document it stands."""
    blocks = [block for section in report_document(report).sections for block in section.blocks]
    return next(
        block
        for block in blocks
        if isinstance(block, Table) and "MBU busy %" in [column.label for column in block.columns]
    )


def test_readers_are_shown_a_range(bounded: Report) -> None:
    table = phase_table(bounded)
    columns = {column.label: column.cells for column in table.columns}
    assert columns["TFLOP"][:3] == ("7.95–9.56", "1.34–1.76", "59.83–72.58")
    assert all("–" in cell.strip("–") for cell in columns["MBU busy %"][:3])


def test_without_a_longest_sequence_there_is_no_upper_bound(unlimited: Report) -> None:
    assert {phase.flops_max for phase in unlimited.phases} == {None}
    table = phase_table(unlimited)
    (cells,) = (column.cells for column in table.columns if column.label == "TFLOP")
    assert cells[0] == "≥7.95"


def test_steps_of_sglangs_scheduler(tmp_path: Path) -> None:
    report = report_of(real_traces.unpack_by_name("h200_sglang_serve", tmp_path), None)
    assert [(phase.name, phase.occurrences, phase.kernel_count) for phase in report.phases] == [("step", 133, 25535)]


def test_an_engines_own_ranges_are_parts_of_marked_steps(tmp_path: Path) -> None:
    """Where both are there, the mark has the lengths."""
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    main.push(0, 100, "decode", domain="llmperf").mark(1, 'llmperf.step {"q":1,"kv":[9,8]}', domain="llmperf")
    main.push(5, 60, "execute_context_0(0)_generation_2(2)").launch(10, gpu=(20, 50))
    main.push(70, 95, "scheduler.run_batch").launch(75, gpu=(80, 90))
    report = report_of(builder.write(tmp_path / "trace.sqlite"), Model.from_config(QWEN3))
    (decode,) = report.phases
    assert (decode.name, decode.occurrences, decode.kernel_count, decode.tokens) == ("decode", 1, 2, 2)
    assert decode.flops == product_flops(2, 2) + attention_flops([(1, 9), (1, 8)])
    assert (decode.flops_min, decode.flops_max) == (decode.flops, decode.flops)


def test_layers_that_engines_mark(tmp_path: Path) -> None:
    builder = TraceBuilder().gpu()
    main = builder.process().thread()
    names = [
        "{'Module': 'model.layers.3.self_attn', 'Inputs': [[4, 2560]]}",
        "{'Module': 'model.layers.3.self_attn.qkv_proj'}",
        "{'Module': 'language_model.model.layers.11.mlp'}",
        "{'Module': 'model.layers.4'}",
        "layer_5",
    ]
    for index, name in enumerate(names):
        main.push(10 * index, 10 * index + 5, name)
    with open_trace(builder.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as trace:
        trace.build("attribute.layer_ranges")
        rows = trace.connection.execute("SELECT layer, part FROM attribute.layer_ranges ORDER BY start_ns").fetchall()
    assert rows == [(3, "attn"), (11, "mlp")]
