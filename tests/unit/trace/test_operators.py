"""Kernels of marked layers against the model's operators, on a real trace with a range per attention and MLP block."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.inputs import AnalysisOptions, RequestShape
from nsys_pipeline.model import Model
from nsys_pipeline.records import Report
from nsys_pipeline.rules.kernels import kernel_family
from nsys_pipeline.trace import Trace, TraceOptions, open_trace
from tests.support import real_traces

# The model of the trace, as its description says; the vocabulary is Llama 3's.
CONFIG = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 4,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
SHAPES = ("1x128+2", "2x1024+16")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    path = real_traces.unpack_by_name("h100_gpu_metrics", tmp_path_factory.mktemp("operators"))
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(trace: Trace) -> Report:
    model, shapes = Model.from_config(CONFIG, name="llama-4-layers"), tuple(RequestShape.parse(text) for text in SHAPES)
    return analyze(trace, AnalysisOptions(model=model, shapes=shapes, keep_cold=True))


def test_every_matrix_and_attention_kernel_of_a_phase_has_an_operator(trace: Trace, report: Report) -> None:
    """Conservation: the operators add up to the kernels of their families, counted here from the names alone."""
    with closing(sqlite3.connect(trace.path)) as lite:
        names = dict(lite.execute("SELECT id, value FROM StringIds"))
    expected: Counter[str] = Counter()
    for phase, short, full, count in trace.connection.execute(
        "SELECT phase, name_id, full_name_id, count FROM attribute.kernel_totals WHERE phase IS NOT NULL"
    ).fetchall():
        if kernel_family(names[short], names[full]) in ("gemm", "gemv", "attention"):
            expected[phase] += count

    found = dict(
        trace.connection.execute(
            "SELECT phase, sum(kernel_count)::BIGINT FROM estimate.operator_times GROUP BY phase"
        ).fetchall()
    )

    assert found == dict(expected)
    # once in a pass, before the first layer: the rotary table, an outer product of positions and frequencies
    other = trace.connection.execute(
        "SELECT count(*), max(kernel_count), max(time_ns) FROM estimate.operator_times WHERE operator = 'other'"
    ).fetchall()
    assert other[0][:2] == (sum(phase.occurrences for phase in report.phases), 1)
    assert other[0][2] < 5_000


def test_operators_have_the_kernels_that_the_model_asks_for(report: Report) -> None:
    prefill = {row.operator: row for row in report.operators if (row.phase, row.shape) == ("prefill", "2x1024")}

    # four layers: three projections for q, k and v, gate and up apart, one kernel for everything else
    assert {name: row.kernel_count for name, row in prefill.items()} == {
        "qkv": 12, "attention": 4, "o": 4, "gate_up": 8, "down": 4, "lm_head": 1,
    }  # fmt: skip
    tokens, layers = 2 * 1024, 4
    assert prefill["gate_up"].flops == layers * 2 * tokens * 2048 * 2 * 8192
    assert prefill["qkv"].flops == layers * 2 * tokens * 2048 * (32 + 2 * 8) * 64
    assert prefill["lm_head"].flops == 2 * 2 * 2048 * 128256


def test_no_operator_is_faster_than_the_hardware(report: Report) -> None:
    assert report.operators
    heads = []
    for row in report.operators:
        assert row.roofline_ratio is not None
        assert 0 < row.roofline_ratio < 1, row
        if row.operator == "lm_head":
            heads.append(row.roofline_ratio)
    assert min(heads) > 0.8  # reads 525 MB of weights in one kernel: next to the bandwidth limit


def test_operators_add_up_to_the_estimate(report: Report) -> None:
    """What the operators and the rest of the estimate say of a phase must be the phase's own FLOPs."""
    for phase in report.phases:
        assert sum(row.flops for row in report.operators if row.phase == phase.name) == phase.flops


def test_kernels_share_what_their_operator_is_estimated_to_take(trace: Trace, report: Report) -> None:
    """What the launches of an operator have adds up to it, and no other launch has any."""
    trace.build("views.kernel_operators", "views.operator_summary")
    found = trace.connection.execute(
        "SELECT phase, operator, sum(flops), any_value(source) FROM views.kernel_operators "
        "WHERE source IS NOT NULL GROUP BY phase, operator HAVING bool_and(flops IS NOT NULL OR reason LIKE 'it only%')"
    ).fetchall()
    expected = {
        (phase, operator): flops
        for phase, operator, flops in trace.connection.execute(
            "SELECT phase, operator, sum(flops)::DOUBLE FROM views.operator_summary GROUP BY phase, operator"
        ).fetchall()
    }

    assert {row[3] for row in found} == {"layers"}
    assert {("prefill", "down"), ("prefill", "gate_up"), ("decode", "o")} <= {row[:2] for row in found}
    for phase, operator, flops, _ in found:
        assert flops == pytest.approx(expected[phase, operator]), (phase, operator)


def test_the_order_in_a_pass_tells_the_same_as_marked_layers(trace: Trace, report: Report, tmp_path: Path) -> None:
    # given the same trace without its ranges of layers
    path = tmp_path / "unmarked.sqlite"
    shutil.copyfile(trace.path, path)
    with closing(sqlite3.connect(path)) as lite, lite:
        names = "(SELECT id FROM StringIds WHERE value GLOB 'layer[0-9]*')"
        assert lite.execute(f"DELETE FROM NVTX_EVENTS WHERE text GLOB 'layer[0-9]*' OR textId IN {names}").rowcount > 0
    query = "SELECT kernel_id, operator, flops, source FROM views.kernel_operators WHERE source IS NOT NULL"
    model, shapes = Model.from_config(CONFIG, name="llama-4-layers"), tuple(RequestShape.parse(text) for text in SHAPES)

    with open_trace(path, TraceOptions(use_cache=False)) as unmarked:
        unmarked.describe(AnalysisOptions(model=model, shapes=shapes, keep_cold=True))
        unmarked.build("views.kernel_operators")
        by_order = {row[0]: row[1:] for row in unmarked.connection.execute(query).fetchall()}
    trace.build("views.kernel_operators")
    by_layers = {row[0]: row[1:] for row in trace.connection.execute(query).fetchall()}

    assert len(by_layers) > 600
    assert {row[2] for row in by_order.values()} == {"order"}
    assert {key: row[:2] for key, row in by_order.items()} == {key: row[:2] for key, row in by_layers.items()}


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """DeepSeek-V2-Lite, as its trace says: a dense layer, then 26 of 64 experts and 2 that all tokens share."""
    path = real_traces.unpack_by_name("h100_deepseek_layers", tmp_path_factory.mktemp("experts"))
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        return analyze(opened)


def test_layers_of_two_kinds_and_the_parts_of_a_block_with_experts_are_told_apart(experts: Report) -> None:
    prefill = {row.operator: row for row in experts.operators if row.phase == "prefill"}
    # PyTorch launches a small kernel before each grouped GEMM; the router's product is split and added up.
    assert {name: row.kernel_count for name, row in prefill.items()} == {
        "qkv": 3 * 27, "attention": 27, "o": 27, "router": 2 * 26, "experts_gate_up": 2 * 26, "experts_down": 2 * 26,
        "shared_experts": 3 * 26, "gate_up": 2, "down": 1, "lm_head": 1,
    }  # fmt: skip
    tokens, layers, width, hidden = 2 * 512, 26, 2048, 1408
    assert prefill["router"].flops == layers * 2 * tokens * 64 * width
    assert prefill["experts_gate_up"].flops == layers * 2 * tokens * 6 * width * 2 * hidden
    assert prefill["experts_down"].flops == layers * 2 * tokens * 6 * width * hidden
    assert prefill["shared_experts"].flops == layers * 2 * tokens * width * 3 * 2 * hidden
    assert prefill["gate_up"].flops == 2 * tokens * width * 2 * 10944
    assert prefill["down"].flops == 2 * tokens * width * 10944
    for phase in experts.phases:
        assert sum(row.flops for row in experts.operators if row.phase == phase.name) == phase.flops


def test_weights_of_experts_are_those_that_the_trace_says_were_chosen(experts: Report) -> None:
    """At one matrix of 2,048 x 1,408 bf16 values for each part of an expert."""
    assert experts.model is not None
    assert experts.model.routing == "counted"
    decode = {row.operator: row for row in experts.operators if row.phase == "decode"}
    one = 2048 * 1408 * 2
    # two tokens choose six of 64 experts each: between six and twelve of them
    assert 6 < decode["experts_down"].bytes / (2 * 26 * one) < 12
    assert decode["experts_gate_up"].bytes == pytest.approx(2 * decode["experts_down"].bytes, rel=1e-6)
    for row in experts.operators:
        assert row.roofline_ratio is not None
        assert 0 < row.roofline_ratio < 1, row


def test_products_after_the_last_marked_block_are_the_head_only_if_there_is_one(tmp_path: Path) -> None:
    # given a model whose last block of experts is not marked
    path = real_traces.unpack_by_name("h100_deepseek_layers", tmp_path)
    with closing(sqlite3.connect(path)) as lite, lite:
        lite.execute("DELETE FROM NVTX_EVENTS WHERE textId IN (SELECT id FROM StringIds WHERE value = 'layer.26.mlp')")

    # when it is analyzed, then its kernels are nobody's, and neither are the head's
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        report = analyze(opened)
        others = opened.connection.execute(
            "SELECT DISTINCT kernel_count FROM estimate.operator_times WHERE operator = 'other' AND phase = 'prefill'"
        ).fetchall()
    operators = {row.operator for row in report.operators}
    assert {"qkv", "attention", "gate_up"} <= operators
    assert not {"lm_head", "router", "experts_down"} & operators
    # router (2), two grouped GEMMs with their setup (4), three shared ones, the head; the rotary table comes first
    assert others == [(1 + 10,)]


def test_layers_with_further_products_beside_attention_do_not_pass_them_off_as_projections(trace: Trace) -> None:
    # given a model with as many layers, whose attention has a gate
    configs = Path(__file__).parent.parent / "model" / "small_configs.json"
    config = json.loads(configs.read_text(encoding="utf-8"))["afmoe"]
    gated = Model.from_config({**config, "num_hidden_layers": 4, "layer_types": None}, name="gated")
    options = AnalysisOptions(model=gated, shapes=tuple(RequestShape.parse(text) for text in SHAPES))
    assert "lm_head" in {row.operator for row in analyze(trace, options).operators}
    assert not {"qkv", "attention", "o"} & {row.operator for row in analyze(trace, options).operators}


def test_a_layer_number_past_64_bits_is_no_layer(tmp_path: Path) -> None:
    path = real_traces.unpack_by_name("h100_deepseek_layers", tmp_path)
    with closing(sqlite3.connect(path)) as lite, lite:
        lite.execute("UPDATE StringIds SET value = 'layer.999999999999999999999.mlp' WHERE value = 'layer.26.mlp'")
    with open_trace(path, TraceOptions(use_cache=False)) as opened:
        assert analyze(opened).operators
