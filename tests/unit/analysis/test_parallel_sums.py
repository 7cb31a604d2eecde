"""A model that ranks share in random ways: what all of them are charged is what the whole job has to compute."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nsys_pipeline.analyze import analyze
from nsys_pipeline.compare.fields import numbers
from nsys_pipeline.inputs import AnalysisOptions
from nsys_pipeline.model import Model
from nsys_pipeline.model.training import training_flops
from nsys_pipeline.records import Report, Step
from nsys_pipeline.report.json import render_json
from nsys_pipeline.report.sections import report_document
from nsys_pipeline.trace import TraceOptions, open_trace
from tests.support.trace_builder import TraceBuilder

DENSE: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 96, "torch_dtype": "bfloat16",
}  # fmt: skip
ADAMW = "multi_tensor_apply_kernel<Metadata<4>, FusedAdamMathFunctor<c10::BFloat16, 4>>(T1)"
EXPERTS = DENSE | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None}
LATENTS = DENSE | {
    "model_type": "deepseek_v3", "num_key_value_heads": 8, "q_lora_rank": 32, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "n_routed_experts": 8, "num_experts_per_tok": 2,
    "n_shared_experts": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip


def job(random: Random, config: dict[str, Any]) -> tuple[TraceBuilder, AnalysisOptions, int, int]:
    """A random job's step, what the analysis is told, the FLOPs of all sequences, weights that optimizers update."""
    degrees = {name: random.choice([1, 2, 4]) for name in ("tp", "pp", "cp", "dp")}
    while degrees["tp"] * degrees["pp"] * degrees["cp"] * degrees["dp"] > 16:
        degrees[random.choice(list(degrees))] = 1
    # Experts are spread over the ranks of a tensor-parallel group, and over data-parallel ranks, which nobody may tell.
    most = degrees["tp"] * degrees["dp"]
    ep = random.choice([one for one in (1, 2, 4) if one <= most]) if "num_experts_per_tok" in config else 1
    is_sharded, is_marked = random.random() < 0.5, random.random() < 0.5 and ep == 1
    model = Model.from_config(config, name="model")
    told = dict.fromkeys(("tp", "pp", "cp", "dp"), None) if is_marked else degrees
    if random.random() < 0.5:
        told = told | {"dp": None}
    options = AnalysisOptions.told(
        dtype=None, weight_dtype=None, kv_dtype=None, ep=None if is_marked else ep, model=model, **told
    )
    trace, rank, whole = TraceBuilder(), 0, 0
    for _ in range(degrees["dp"]):
        batch, length = random.randint(1, 3), 16 * random.randint(1, 4)
        flops = training_flops(model, Step.uniform(batch=batch, q_tokens=length, logits=batch * length))
        whole += flops.forward + flops.backward
        for _ in range(degrees["pp"] * degrees["cp"] * degrees["tp"]):
            run = {"v": 1, "rank": rank, **(degrees if is_marked else {})}
            train(trace.gpu(rank), rank, run, (batch, length // degrees["cp"]), is_sharded=is_sharded)
            rank += 1
    if is_sharded:
        return trace, options, whole, model.params
    # Each group of tensor-parallel ranks has all other weights, and a share of the experts.
    experts = _expert_params(config)
    copy = model.params - experts + experts // max(1, ep // degrees["tp"])
    return trace, options, whole, copy * degrees["dp"] * degrees["cp"]


def _expert_params(config: dict[str, Any]) -> int:
    """Three matrices for each routed expert of each layer that has some."""
    count: int = config.get("num_local_experts", config.get("n_routed_experts", 0))
    layers: int = config["num_hidden_layers"] - config.get("first_k_dense_replace", 0)
    width: int = config.get("moe_intermediate_size", config["intermediate_size"])
    hidden: int = config["hidden_size"]
    return layers * count * 3 * hidden * width


def train(trace: TraceBuilder, rank: int, run: dict[str, Any], shape: tuple[int, int], *, is_sharded: bool) -> None:
    """One step of one rank, which marks the tokens of its own passes."""
    batch, tokens = shape
    step = {"q": [tokens] * batch, "kv": [0] * batch, "logits": batch * tokens}
    main = trace.process(100 + rank).thread().mark(0, f"llmperf.run {json.dumps(run)}", domain="llmperf")
    reduction = "ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL" if is_sharded else "ncclDevKernel_AllReduce_Sum_bf16"
    names = {"forward": "gemm", "backward": reduction, "optimizer": ADAMW}
    for place, (phase, kernel) in enumerate(names.items()):
        start = 1000 * (place + 1)
        main.push(start, start + 900, phase, domain="llmperf")
        if phase == "forward":
            main.mark(start + 1, f"llmperf.step {json.dumps(step)}", domain="llmperf")
        main.launch(start + 10, gpu=(start + 20, start + 800), name=kernel, device=rank)


@pytest.mark.parametrize(
    ("config", "seed"),
    [(DENSE, 201), (EXPERTS, 206), (EXPERTS, 210), (EXPERTS, 222), (EXPERTS, 235), (LATENTS, 201)],
    ids=["dense", "experts", "of untold ranks", "of untold ranks that shard", "of told ranks", "latents"],
)
def test_ranks_add_up_to_the_whole(config: dict[str, Any], seed: int, tmp_path: Path) -> None:
    trace, options, whole, updated = job(Random(f"{config['model_type']} {seed}"), config)

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.describe(options)
        opened.build("estimate.training_steps", "estimate.occurrence_costs", "attribute.phase_ranges")
        steps = opened.connection.execute("SELECT flops FROM estimate.training_steps").fetchall()
        updates = opened.connection.execute(
            "SELECT c.bytes FROM estimate.occurrence_costs AS c JOIN attribute.phase_ranges AS p USING (occurrence_id)"
            " WHERE p.phase = 'optimizer'"
        ).fetchall()

    # A rank's share of a pass is rounded down.
    assert 0 <= whole - sum(flops for (flops,) in steps) <= 3 * len(steps)
    # AdamW reads a gradient, a weight and two moments, and writes the last three.
    assert 0 <= updated * 7 * 2 - sum(size for (size,) in updates) <= len(steps)


def test_ranks_that_gather_weights_in_the_optimizer_update_a_share_of_them(tmp_path: Path) -> None:
    """ZeRO-1: gradients are reduced on all ranks, and each updates a quarter of the weights."""
    trace, ranks = TraceBuilder(), 4
    for rank in range(ranks):
        trace.gpu(rank)
        train(trace, rank, {"v": 1, "model": DENSE, "dtype": "bf16"}, (1, 8), is_sharded=False)
        main = trace._processes[-1].thread()
        main.launch(3500, gpu=(3850, 3900), name="ncclDevKernel_AllGather_RING_LL", device=rank)

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        opened.describe(AnalysisOptions())
        opened.build("attribute.optimizer_kernels")
        assert opened.connection.execute("SELECT shards FROM attribute.optimizer_kernels").fetchall() == [(ranks,)]


def report_object(report: Report) -> Any:
    stream = StringIO()
    render_json(report, stream)
    return json.loads(stream.getvalue())


@pytest.mark.parametrize(
    ("ranks", "told", "sharing"),
    [
        (4, {"tp": 2, "dp": 2}, 2),
        (1, {"tp": 2}, 1),  # the other rank is not in the trace
        (2, {"tp": 1}, 1),
    ],
)
def test_tokens_of_a_pass_that_ranks_share_count_once(
    ranks: int, told: dict[str, int], sharing: int, tmp_path: Path
) -> None:
    """Each rank marks the same three passes of 20 tokens and 10 µs as those that it shares them with."""
    trace = TraceBuilder()
    for rank in range(ranks):
        main = trace.gpu(rank).process(100 + rank).thread()
        for number in range(3):
            start = 100_000 * number
            main.push(start, start + 10_000, "prefill", domain="llmperf")
            main.mark(start + 1, 'llmperf.step {"q": [15, 5], "kv": [0, 0], "logits": 2}', domain="llmperf")
            main.launch(start + 10, gpu=(start + 20, start + 8_000), name="gemm", device=rank)
    model = Model.from_config(DENSE, name="model")
    degrees = dict.fromkeys(("tp", "pp", "cp", "dp")) | told
    options = AnalysisOptions.told(dtype=None, weight_dtype=None, kv_dtype=None, ep=None, model=model, **degrees)

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        report = analyze(opened, options)

    (phase,) = report.phases
    copies = ranks // sharing
    assert (phase.occurrences, phase.sharing_ranks, phase.tokens) == (3 * ranks, sharing, 60 * copies)
    assert [(row.occurrences, row.tokens) for row in phase.shapes] == [(3 * ranks, 60 * copies)]
    # Three passes of 20 tokens in 30 µs, on each copy of the model.
    assert numbers(report_object(report))["prefill.tokens_per_s"] == pytest.approx(60 / 30e-6)
    text = str(report_document(report).sections)
    assert (f"{sharing} ranks share each pass" in text) == (sharing > 1)


def test_one_range_around_the_work_of_all_gpus_is_one_pass(tmp_path: Path) -> None:
    trace = TraceBuilder().gpu(0).gpu(1)
    main = trace.process().thread().push(0, 10_000, "prefill", domain="llmperf")
    main.mark(1, 'llmperf.step {"q": [15, 5], "kv": [0, 0], "logits": 2}', domain="llmperf")
    for device in (0, 1):
        main.launch(10 + device, gpu=(20, 8_000), name="gemm", device=device)
    options = AnalysisOptions.told(
        dtype=None,
        weight_dtype=None,
        kv_dtype=None,
        ep=None,
        model=Model.from_config(DENSE),
        tp=None,
        pp=2,
        cp=None,
        dp=None,
    )

    with open_trace(trace.write(tmp_path / "trace.sqlite"), TraceOptions(use_cache=False)) as opened:
        (phase,) = analyze(opened, options).phases

    assert (phase.occurrences, phase.sharing_ranks, phase.tokens) == (1, 1, 20)
